"""A prompt as text that remembers which of its parts a template did not write.

Owns the type, and putting it together piece by piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from shared.templates.messages import Role


class Span(NamedTuple):
    """The characters `start` to `end` (exclusive) of a prompt come from a message of `role`."""

    start: int
    end: int
    role: Role


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt. `spans` are in order and do not overlap.

    None: the template changed what messages said, or hid where it stands; `unplaced` is all
    that they said.
    """

    text: str
    spans: tuple[Span, ...] | None
    unplaced: tuple[str, ...] = ()


class PromptBuilder:
    """Puts a prompt together and keeps count of what came from messages."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._pieces: list[str] = []
        self._length = 0
        self._spans: list[Span] = []

    def write(self, text: str) -> None:
        """Add what the template says."""
        self._pieces.append(text)
        self._length += len(text)

    def quote(self, text: str, role: Role) -> None:
        """Add what a message says."""
        if text:
            self._spans.append(Span(self._length, self._length + len(text), role))
        self.write(text)

    def done(self) -> Rendered:
        """Return the prompt."""
        return Rendered("".join(self._pieces), tuple(self._spans))
