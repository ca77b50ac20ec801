"""HTTP/1.1 as the mock engine serves it: one request at a time on a kept connection.

Plain asyncio and httptools, since it shares two cores with what is measured. A client that reads
slowly lets its own answer gather here; an answer is bounded by `max_tokens`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import httptools

_REASONS = {200: b"OK", 204: b"No Content", 404: b"Not Found", 429: b"Too Many Requests"}


@dataclass(slots=True)
class Asked:
    """One request as it came; `method` is empty until its head is there."""

    method: str = ""
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)


class HttpConnection(asyncio.Protocol):
    """Gives each whole request to `serve`, and takes its answer."""

    def __init__(
        self, serve: Callable[[HttpConnection, Asked], None], connections: set[HttpConnection]
    ) -> None:
        self.gone: Callable[[], None] = lambda: None
        self._serve = serve
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._asked = Asked()
        self._transport: asyncio.Transport | None = None

    def respond(
        self,
        status: int,
        body: bytes = b"",
        media_type: str = "application/json",
        retry_after: int | None = None,
    ) -> None:
        """Answer with a whole body."""
        extra = b"" if retry_after is None else b"retry-after: %d\r\n" % retry_after
        self.write(
            b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\n%bcontent-length: %d\r\n\r\n%b"
            % (status, _REASONS.get(status, b"X"), media_type.encode(), extra, len(body), body)
        )
        self.gone = lambda: None

    def begin(self, media_type: str) -> None:
        """Begin an answer in chunks."""
        self.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncache-control: no-store\r\n"
            b"transfer-encoding: chunked\r\n\r\n" % media_type.encode()
        )

    def chunk(self, data: bytes, *, last: bool = False) -> None:
        """Send a piece of such an answer."""
        self.write(b"%x\r\n%b\r\n%b" % (len(data), data, b"0\r\n\r\n" if last else b""))
        if last:
            self.gone = lambda: None

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def cut(self) -> None:
        """Reset the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        self._connections.discard(self)
        gone, self.gone = self.gone, lambda: None
        gone()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.cut()

    def on_message_begin(self) -> None:
        self._asked = Asked()

    def on_url(self, url: bytes) -> None:
        self._asked.path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._asked.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._asked.body += body

    def on_message_complete(self) -> None:
        self._asked.method = self._parser.get_method().decode()
        self._serve(self, self._asked)
