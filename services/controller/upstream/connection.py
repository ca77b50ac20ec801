"""One HTTP/1.1 connection to a worker or another server, for one exchange at a time.

Owns bytes on the socket: response parsing, the silence timer, back-pressure both ways, and the
decision whether the connection may serve again. Knows no pool, no worker and no frame. Anything
odd in the framing closes it: a connection in doubt would give one caller another's answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

import httptools

from services.controller.upstream.outlet import Outlet
from shared.errors import LLMZooError, UpstreamFailed, UpstreamTimeout

HIGH_WATER_BYTES = 64 * 1024
"""Unread bytes from which on the socket is not read; a slow client cannot grow memory."""

MAX_HEAD_BYTES = 64 * 1024
"""Status line and headers of an answer; a head without an end cannot grow memory."""

_BODILESS = (204, 304)


class Connection(asyncio.Protocol):
    """Sends a request, gives the answer piece by piece, goes back to where it came from."""

    def __init__(
        self,
        silence: float,
        give_back: Callable[[Connection], None],
        *,
        peer: str = "The worker",
        unframed: bool = False,
    ) -> None:
        """Prepare for `create_connection`.

        Args:
            silence: seconds without a byte after which the peer counts as silent.
            give_back: called when an exchange ended cleanly and the connection may be reused.
            peer: who is spoken to, as the subject of an error's sentence.
            unframed: whether an answer may end with its connection; a cut answer then looks
                whole, so that the reader has to know its end.
        """
        self.open = False
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.answered = False
        self.sent_at = 0.0
        self.idle_since = 0.0
        self.listener: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._silence = silence
        self._give_back = give_back
        self._peer = peer
        self._unframed = unframed
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._outlet = Outlet()
        self._pieces: list[bytes] = []
        self._buffered = self._head_bytes = 0
        self._heard_at = 0.0
        self._fault: LLMZooError | None = None
        self._active = self._released = self._paused = False
        self._ended = self._reusable = False
        self._uploading = self._head_only = self._until_close = False

    def send(self, request: bytes, *, uploading: bool = False, head_only: bool = False) -> None:
        """Start an exchange; the connection must be idle.

        With `uploading`, `write` gives the rest of the body; `head_only` says that the method is
        HEAD, whose answer has the headers of a body and none.
        """
        assert self._transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers = {}
        self.answered = False
        self._fault = None
        self._active = True
        self._released = self._ended = self._reusable = self._until_close = False
        self._uploading, self._head_only = uploading, head_only
        self._head_bytes = 0
        self.sent_at = time.monotonic()
        self._heard_at = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._silence, self._check_silence)
        self._transport.write(request)

    async def write(self, piece: bytes, *, more: bool) -> None:
        """Send a piece of the request's body, once the peer has taken those before.

        Nothing is sent when the exchange has ended: `head` and `read` tell how.
        """
        while self._outlet.choked and self.open and not self._ended:
            await self._outlet.change()
        if self._transport is not None and self.open and not self._ended:
            self._uploading = more
            self._heard_at = self._loop.time()
            self._transport.write(piece)

    async def head(self) -> None:
        """Wait for status and headers.

        Raises:
            UpstreamFailed: the peer broke off or sent no HTTP. UpstreamTimeout: it was silent.
        """
        while not self.status:
            if self._fault is not None:
                raise self._fault
            await self.change()

    async def read(self) -> bytes:
        """Return all body bytes that arrived since the last call; empty at the end.

        Raises:
            as `head`, after the bytes that came before the fault were returned.
        """
        while (piece := self.take()) is None:
            await self.change()
        return piece

    @property
    def heard_at(self) -> float:
        """When the last byte came, in seconds of the event loop's clock."""
        return self._heard_at

    @property
    def broken(self) -> bool:
        """Return whether nothing more will come."""
        return self._ended or self._fault is not None

    def take(self) -> bytes | None:
        """Return what `read` would, None where it would wait; raises as it does."""
        if not self._pieces:
            if self._ended:
                return b""
            if self._fault is not None:
                raise self._fault
            return None
        pieces = self._pieces
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._buffered = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._heard_at = self._loop.time()
            self._transport.resume_reading()
        return piece

    async def change(self) -> None:
        """Wait until something has come, or the exchange has ended."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """Let whoever reads look again."""
        if self.listener is not None:
            self.listener()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def release(self, *, complete: bool) -> None:
        """End the exchange.

        Args:
            complete: the caller has all it needs, so that only the end of the message may still
                come; the connection waits for that by itself. Otherwise it is closed.
        """
        if not self._active or self._released:
            return
        self._released = True
        self.listener = None
        self._pieces.clear()
        if self._ended:
            self._settle()
        elif not complete:
            self.close()
        elif self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def close(self) -> None:
        """Close at once, whatever is under way."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    def fail(self, fault: LLMZooError) -> None:
        """Close at once; whoever reads is told of `fault`."""
        self._fault = self._fault or fault
        self.close()
        self.wake()

    def fail_if_silent(self, seconds: float) -> None:
        """Give the exchange up if nothing came for so long, though the caller was reading."""
        if self._active and not self._paused and self._loop.time() - self._heard_at > seconds:
            self.fail(UpstreamTimeout(f"{self._peer} has fallen silent."))

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        # uvloop's transports are asyncio's by shape only.
        self._transport = cast("asyncio.Transport", transport)
        self.open = True

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if not self._active:
            self.close()
            return
        self.answered = True
        self._heard_at = self._loop.time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as fault:
            self._doubt(f"answered with something that is no HTTP ({fault}).")
        if not self.status:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._doubt("answered with headers without an end.")
        self.wake()

    def pause_writing(self) -> None:
        """Note that the peer is slow to take the request."""
        self._outlet.choked = True

    def resume_writing(self) -> None:
        """Go on with the request's body."""
        self._outlet.choked = False
        self._outlet.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell reader and writer, unless the answer is complete."""
        self.open = False
        if self._until_close and exc is None and self._fault is None:
            self._ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._fault is None:
            self._fault = UpstreamFailed(f"{self._peer} broke off ({exc or 'connection closed'}).")
        self.wake()
        self._outlet.wake()

    # What the parser calls. It wraps exceptions, so none is raised here.

    def on_message_begin(self) -> None:
        """Refuse a second answer to one request."""
        if self._ended:
            self._doubt("sent more than one answer.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; names are compared in lower case, repeated ones are one list."""
        name = name.lower()
        if name in self.headers:
            value = self.headers[name] + b", " + value
        self.headers[name] = value

    def on_headers_complete(self) -> None:
        """Take the status, unless the body's end could only be told by a close."""
        status = self._parser.get_status_code()
        framed = (
            self._head_only
            or status in _BODILESS
            or b"content-length" in self.headers
            or b"transfer-encoding" in self.headers
        )
        if status < 200 or not (framed or self._unframed):  # noqa: PLR2004 - 1xx
            self._doubt("sent an answer without a clear end.")
            return
        self.status = status
        self._until_close = not framed
        # The parser waits for the body that these headers belong to; it does not come.
        self._ended = self._head_only

    def on_body(self, body: bytes) -> None:
        """Keep a piece for the reader and stop reading when it is slow."""
        if self._released:
            self._doubt("went on after the end of its answer.")
            return
        self._pieces.append(body)
        self._buffered += len(body)
        if self._buffered >= HIGH_WATER_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Note the end, and go back if nobody reads any more."""
        self._ended = True
        self._reusable = self._parser.should_keep_alive() and not self._uploading
        self._outlet.wake()
        if self._released:
            self._settle()

    def _settle(self) -> None:
        self._active = False
        transport = self._transport
        unsent = transport is None or transport.get_write_buffer_size() > 0
        if self._reusable and self.open and not unsent and self._fault is None:
            self.idle_since = time.monotonic()
            self._give_back(self)
        else:
            self.close()

    def _doubt(self, what: str) -> None:
        self.fail(UpstreamFailed(f"{self._peer} {what}"))

    def _check_silence(self) -> None:
        self._timer = None
        if not self._active:
            return
        # While the reader is slow, or the request's body is still to come, the silence is ours.
        ours = self._paused or (self._uploading and not self._outlet.choked)
        heard_at = self._loop.time() if ours else self._heard_at
        left = heard_at + self._silence - self._loop.time()
        if left <= 0:
            self.fail(UpstreamTimeout(f"{self._peer} was silent for {self._silence:g} seconds."))
        else:
            self._timer = self._loop.call_later(left, self._check_silence)
