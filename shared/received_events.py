"""The events of one streamed answer, over one connection or several.

Owns which of them count. An answer that can go on elsewhere has ids in its stream, and one id may
stand for several events: it comes with the last of them, and whoever goes on after it gets again
all that followed it. So events without an id are held back until an id or the end has come, and
are forgotten when the connection is lost before. Streams without ids are passed on as they come.
Knows nothing of connections nor of what events mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from shared.errors import InvalidRequest
from shared.protocol.event_id import EventId
from shared.protocol.sse import SSEDecoder

T = TypeVar("T")

_DONE = b"[DONE]"
_MOST_HELD = 256
"""More than a worker has to tell at once; the end of an answer closes up to 128 choices."""


class ReceivedEvents(Generic[T]):
    """Takes bytes as they come and gives back what was read from the events that count.

    Attributes:
        done: whether the stream's last event has come.
        place: the id after which the answer goes on; empty if it can go on nowhere else.
    """

    def __init__(self) -> None:
        """Start before the first event."""
        self.done = False
        self.place = ""
        self._decoder = SSEDecoder()
        self._told = b""
        self._held: list[T] = []

    def take(self, piece: bytes, read: Callable[[bytes], T]) -> Iterator[T]:
        """Yield what `read` makes of the events that count now.

        Raises:
            ValueError: what comes is no stream of events. Whatever `read` raises.
        """
        for data in self._decoder.feed(piece):
            if data == _DONE:
                self.done = True
                yield from self.held()
                return
            self._held.append(read(data))
            if self._decoder.last_event_id != self._told:
                self._told = self._decoder.last_event_id
                self.place = _place(self._told)
            elif len(self._held) > _MOST_HELD:
                self.place = ""  # other servers may have another idea of ids
            elif self.place:
                continue
            yield from self.held()

    def held(self) -> Iterator[T]:
        """Yield what was held back: for an answer that will not go on, it is the last there is."""
        held, self._held = self._held, []
        yield from held

    def reconnected(self) -> None:
        """Begin another stream, which goes on after `place`."""
        self._decoder.reconnected()
        self._held = []


def _place(event_id: bytes) -> str:
    """Return the id if it is one of ours, else nothing: other servers have ids of their own."""
    try:
        place = event_id.decode("ascii")
        EventId.parse(place)
    except (UnicodeDecodeError, InvalidRequest):
        return ""
    return place if place.isprintable() else ""
