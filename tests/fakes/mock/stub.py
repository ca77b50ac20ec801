"""A worker that computes nothing: fixed bytes, as cheaply as Python can send them.

For measuring what stands before it. HTTP is read only as far as needed, answers are made once,
and all streams of a process share one timer: a stream has one of 16 phases, so that not all of
them send in the same millisecond.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

_PHASES = 16
_HEAD_END = b"\r\n\r\n"


def whole(body: bytes, media_type: bytes = b"application/json", status: bytes = b"200 OK") -> bytes:
    """Return an answer with its length."""
    return b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (
        status,
        media_type,
        len(body),
        body,
    )


def chunked_head(media_type: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % media_type


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(frozen=True, slots=True)
class Stream:
    """`head` and a piece at once, one more at each gap, then `tail`; an endless one repeats."""

    head: bytes
    pieces: Sequence[bytes]
    tail: bytes
    endless: bool = False


Reply = Callable[[bytes, bytes, bytes], bytes | Stream]
"""From path, head (in lower case) and body to the answer."""


class Wheel:
    """One timer for all streams."""

    def __init__(self, gap: float) -> None:
        self._step = gap / _PHASES
        self._slots: list[set[StubConnection]] = [set() for _ in range(_PHASES)]
        self._entered = itertools.count()
        self._turn = 0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, connection: StubConnection) -> Callable[[], None]:
        """Let a connection send from now on; returns what ends that."""
        slot = self._slots[next(self._entered) % _PHASES]
        slot.add(connection)
        if self._timer is None:
            self._due = asyncio.get_running_loop().time()
            self._go_on()
        return lambda: slot.discard(connection)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        for connection in tuple(self._slots[self._turn]):
            connection.send_piece()
        self._turn = (self._turn + 1) % _PHASES
        if any(self._slots):
            self._go_on()
        else:
            self._timer = None

    def _go_on(self) -> None:
        self._due += self._step
        self._timer = asyncio.get_running_loop().call_at(self._due, self._tick)


class StubConnection(asyncio.Protocol):
    """Reads requests one after the other; each must come with its length."""

    def __init__(self, reply: Reply, wheel: Wheel) -> None:
        self._reply = reply
        self._wheel = wheel
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._leave: Callable[[], None] = lambda: None
        self._stream: Stream | None = None
        self._next = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._leave()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        while True:
            end = self._buffer.find(_HEAD_END)
            if end < 0:
                return
            head = self._buffer[:end].lower()
            size = end + len(_HEAD_END) + _content_length(head)
            if len(self._buffer) < size:
                return
            path = self._buffer.split(b" ", 2)[1]
            body = self._buffer[end + len(_HEAD_END) : size]
            self._buffer = self._buffer[size:]
            self._answer(self._reply(path, head, body))

    def send_piece(self) -> None:
        """Send the next piece of the stream."""
        stream = self._stream
        if stream is None or self._transport is None:
            return
        if self._next < len(stream.pieces):
            self._transport.write(stream.pieces[self._next])
            self._next += 1
        elif stream.endless:
            self._next = 0
            self.send_piece()
        else:
            self._transport.write(stream.tail)
            self._stream = None
            self._leave()

    def _answer(self, answer: bytes | Stream) -> None:
        assert self._transport is not None
        if isinstance(answer, bytes):
            self._transport.write(answer)
            return
        self._transport.write(answer.head + answer.pieces[0])
        self._stream, self._next = answer, 1
        self._leave = self._wheel.enter(self)


def _content_length(head: bytes) -> int:
    at = head.find(b"\r\ncontent-length:")
    return int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
