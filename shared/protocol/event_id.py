"""The id of an event in a streamed answer: from where the answer goes on for who lost it.

    <worker>.<answer>.<number>

The worker's id in the registry, its dots written as %2E; the answer's id; the number of the
`tokens` frame that the event ends. A client that comes back sends it as `Last-Event-ID`, and any
controller finds the worker by it. Owns this form.
"""

from __future__ import annotations

from typing import NamedTuple, Self

from shared.errors import InvalidRequest

LAST_EVENT_ID_HEADER = "last-event-id"
CONTINUED_HEADER = "x-llmzoo-continued"
"""Says of an answer that it goes on after the id, and is not another one."""

_LONGEST = 512
_HIGHEST = 2**32 - 1


class EventId(NamedTuple):
    """Who gave the answer, which one it is, and how far it went."""

    worker: str
    answer: str
    number: int

    def encode(self) -> str:
        """Return the id as it stands in an event."""
        return f"{event_id_stem(self.worker, self.answer)}{self.number}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `encode` wrote.

        Raises:
            InvalidRequest: it is no such id.
        """
        head, _, number = text.rpartition(".")
        worker, _, answer = head.partition(".")
        known = worker and answer and number.isascii() and number.isdecimal()
        if not known or len(text) > _LONGEST or len(number) > 10 or int(number) > _HIGHEST:  # noqa: PLR2004 - digits of 2**32
            msg = "This is no event id of a streamed answer."
            raise InvalidRequest(msg, param="Last-Event-ID")
        return cls(worker.replace("%2E", ".").replace("%25", "%"), answer, int(number))


def event_id_stem(worker: str, answer: str) -> str:
    """Return what all ids of an answer begin with; the number follows."""
    return f"{worker.replace('%', '%25').replace('.', '%2E')}.{answer}."
