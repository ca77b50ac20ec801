"""The events of one stream as a client keeps them, who may have to come back for the rest."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

DONE = b"[DONE]"


class Event(NamedTuple):
    id: str
    data: bytes


class EventLog:
    """What has come, and where to go on; nothing is decoded here."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.arrivals: list[float] = []
        """When each event came."""
        self.last_id = ""
        self._kept = 0
        self._begun = b""

    @property
    def ended(self) -> bool:
        """Return whether the answer is over, well or not."""
        if not self.events:
            return False
        last = self.events[-1].data
        return last == DONE or last.startswith(b'{"error"')

    def feed(self, piece: bytes, now: float) -> None:
        *whole, self._begun = (self._begun + piece).split(b"\n\n")
        for lines in whole:
            event = _read(lines)
            if event is None:
                continue
            self.events.append(event)
            self.arrivals.append(now)
            if event.id:
                self.last_id = event.id
                self._kept = len(self.events)

    def lose(self) -> None:
        """Forget what came after the last id: it comes again."""
        del self.events[self._kept :]
        del self.arrivals[self._kept :]
        self._begun = b""

    def longest_gap(self) -> float:
        """Return the longest time between two events, in seconds."""
        return max((b - a for a, b in pairwise(self.arrivals)), default=0.0)


def _read(lines: bytes) -> Event | None:
    event_id, data = "", None
    for line in lines.split(b"\n"):
        if line.startswith(b"id: "):
            event_id = line[4:].decode()
        elif line.startswith(b"data: "):
            data = line[6:]
    return None if data is None else Event(event_id, data)
