"""One HTTP/1.1 connection to the controller, for one call at a time.

Owns bytes on the socket and the bounds on an answer's size. httptools parses: a call costs a
fraction of what a general client's layers take, and an evaluation makes many thousands.
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

from shared.errors import LLMZooError, MalformedAnswer, UpstreamFailed

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 16 * 1024 * 1024
_BODILESS = (204, 304)
_FIRST_FINAL = 200


class CallConnection(asyncio.Protocol):
    """Sends a request and collects the whole answer.

    Attributes:
        status, headers, body: the answer, once `exchange` has returned; names in lower case.
        answered: whether a byte of it came.
    """

    def __init__(self, server: str) -> None:
        """Prepare for `create_connection`; `server` is named in errors."""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.answered = False
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._size = self._head_size = 0
        self._done: asyncio.Future[None] | None = None
        self._framed = self._reusable = False

    @property
    def open(self) -> bool:
        """Return whether it may serve again."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def body(self) -> bytes:
        """Return the answer's body."""
        return b"".join(self._body)

    async def exchange(self, request: bytes) -> None:
        """Send a request and wait for the end of its answer; cancelling closes the connection.

        Raises:
            UpstreamFailed: it broke off. MalformedAnswer: it is no HTTP, or too large.
        """
        self._begin()
        if self._transport is None or not self.open:
            raise UpstreamFailed(f"The connection to {self._server} is closed.")
        self._done = asyncio.get_running_loop().create_future()
        try:
            self._transport.write(request)
            await self._done
        except BaseException:
            self.close()
            raise
        finally:
            self._done = None
        if not self._reusable:
            self.close()

    def close(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        # uvloop's transports are asyncio's by shape only.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came; bytes that nobody asked for end the connection."""
        if self._done is None:
            self.close()
            return
        self.answered = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as fault:
            self._fail(MalformedAnswer(f"{self._server} answered with no HTTP ({fault})."))
            return
        self._head_size += 0 if self.status else len(data)
        if self._size > MAX_BODY_BYTES or self._head_size > MAX_HEAD_BYTES:
            self._fail(MalformedAnswer(f"{self._server} answered with more than it may."))

    def connection_lost(self, exc: Exception | None) -> None:
        """End the exchange: an answer without a length ends with its connection."""
        if self.status and not self._framed and exc is None:
            self._end(reusable=False)
        else:
            self._break_off(exc)

    # What the parser calls. It wraps exceptions, so none is raised here.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Take the status of an answer that is no interim one."""
        status = self._parser.get_status_code()
        if status >= _FIRST_FINAL:
            self.status = status
            framing = {"content-length", "transfer-encoding"}
            self._framed = status in _BODILESS or not framing.isdisjoint(self.headers)

    def on_body(self, body: bytes) -> None:
        """Keep a piece."""
        self._body.append(body)
        self._size += len(body)

    def on_message_complete(self) -> None:
        """Note the end; behind an interim answer the one that counts begins."""
        if self.status:
            self._end(reusable=self._parser.should_keep_alive())
        else:
            self.headers.clear()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status = self._size = self._head_size = 0
        self.headers = {}
        self._body = []
        self.answered = self._framed = self._reusable = False

    def _end(self, *, reusable: bool) -> None:
        self._reusable = reusable
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def _break_off(self, exc: Exception | None) -> None:
        what = exc or "connection closed"
        self._fail(UpstreamFailed(f"The connection to {self._server} broke off ({what})."))

    def _fail(self, fault: LLMZooError) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(fault)
        self.close()
