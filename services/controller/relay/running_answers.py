"""The answers under way in this controller, by the ids that an operator knows them by.

Owns nothing but the list.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.controller.relay.running_answer import RunningAnswer


class RunningAnswers:
    """What can be listed and moved."""

    def __init__(self) -> None:
        """Start empty."""
        self._by_call: dict[str, RunningAnswer] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._by_call)

    def __iter__(self) -> Iterator[RunningAnswer]:
        """Yield them, the oldest first."""
        return iter(list(self._by_call.values()))

    def add(self, answer: RunningAnswer) -> None:
        """Hold an answer; whoever does so removes it."""
        self._by_call[answer.call.id] = answer

    def remove(self, answer: RunningAnswer) -> None:
        """Hold it no more."""
        del self._by_call[answer.call.id]

    def find(self, wanted: str) -> RunningAnswer | None:
        """Return the answer of a request's id, or of its own."""
        found = self._by_call.get(wanted)
        if found is not None:
            return found
        return next((answer for answer in self if answer.start.id == wanted), None)
