"""One HTTP request on a connection of its own, its answer handed over byte by byte.

Owns sockets and times: each read is stamped when the event loop hands it over, and nothing is
buffered. h11 parses, as it does beneath httpx, whose layers cost two to three times as much
processor time a token (250 against 100 µs): the load generator shares its cores with the server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeVar
from urllib.parse import urlsplit

import h11

from shared.errors import ConfigurationError, LLMZooError, UpstreamFailed

_PORTS = {"http": 80, "https": 443}
_CONNECT_SECONDS = 10.0
_MOST_ERROR_BYTES = 65_536
_SUCCESS = range(200, 300)

P = TypeVar("P", bound=asyncio.Protocol)

Take = Callable[[bytes, float], None]
"""Gets a piece of a successful answer's body and when it came; may raise LLMZooError."""


@dataclass(frozen=True, slots=True)
class Reply:
    """How an answer ended; `error` is the body of one that is no success."""

    status: int
    ended: float
    error: bytes

    @property
    def is_success(self) -> bool:
        """Whether the body went to `take`."""
        return self.status in _SUCCESS


@dataclass(frozen=True, slots=True)
class Server:
    """Where requests go."""

    host: str
    port: int
    tls: bool
    path: str
    authority: str
    api_key: str
    headers: tuple[tuple[str, str], ...] = ()
    """More of them, sent with each request."""

    @classmethod
    def at(cls, base_url: str, api_key: str) -> Self:
        """Return the server at a URL, with or without `/v1`.

        Raises:
            ConfigurationError: it is no http URL.
        """
        try:
            parts = urlsplit(base_url.rstrip("/").removesuffix("/v1"))
            port = parts.port or _PORTS[parts.scheme]
        except (ValueError, KeyError) as fault:
            msg = f"--base-url {base_url!r} is no http URL"
            raise ConfigurationError(msg, param="--base-url") from fault
        authority = parts.netloc.rpartition("@")[2]
        tls = parts.scheme == "https"
        return cls(parts.hostname or "", port, tls, parts.path, authority, api_key)

    async def check(self) -> None:
        """Connect once.

        Raises:
            UpstreamFailed: nobody is there.
        """
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                transport, _ = await self._connect(asyncio.Protocol)
        except TimeoutError as fault:
            msg = f"Nothing answers at {self.authority} within {_CONNECT_SECONDS:g} s."
            raise UpstreamFailed(msg) from fault
        transport.close()

    async def post(self, path: str, body: bytes, take: Take) -> Reply:
        """Send `body` and return when the answer has ended.

        Raises:
            UpstreamFailed: no connection, or it broke off, or what came is no HTTP. Otherwise
            what `take` raises.
        """
        transport, exchange = await self._connect(
            lambda: _Exchange(self._request(path, body), body, take)
        )
        try:
            return await exchange.reply
        finally:
            transport.close()

    def _request(self, path: str, body: bytes) -> h11.Request:
        headers = [
            ("host", self.authority),
            ("content-type", "application/json"),
            ("accept", "text/event-stream"),
            ("accept-encoding", "identity"),
            ("content-length", str(len(body))),
            ("connection", "close"),
            *self.headers,
        ]
        if self.api_key:
            headers.append(("authorization", f"Bearer {self.api_key}"))
        return h11.Request(method="POST", target=self.path + path, headers=headers)

    async def _connect(self, make: Callable[[], P]) -> tuple[asyncio.Transport, P]:
        loop = asyncio.get_running_loop()
        try:
            return await loop.create_connection(make, self.host, self.port, ssl=self.tls or None)
        except OSError as fault:
            msg = f"Nothing answers at {self.authority} ({fault.strerror or fault})."
            raise UpstreamFailed(msg) from fault


class _Exchange(asyncio.Protocol):
    """Request and answer on one connection."""

    def __init__(self, request: h11.Request, body: bytes, take: Take) -> None:
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._http = h11.Connection(h11.CLIENT)
        self._request = request
        self._body = body
        self._take = take
        self._status = 0
        self._error = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        events = (self._request, h11.Data(self._body), h11.EndOfMessage())
        transport.write(b"".join(self._http.send(event) or b"" for event in events))

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if self.reply.done():
            return
        try:
            self._http.receive_data(data)
            self._read(now)
        except LLMZooError as fault:
            self.reply.set_exception(fault)
        except h11.RemoteProtocolError as fault:
            what = f"is no HTTP ({fault})" if data else "broke off before its end"
            self.reply.set_exception(UpstreamFailed(f"The answer {what}."))

    def eof_received(self) -> None:
        self.data_received(b"")  # what tells h11 of the end

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.reply.done():
            told = f" ({exc})" if exc else ""
            self.reply.set_exception(UpstreamFailed(f"The connection broke off{told}."))

    def _read(self, now: float) -> None:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Response):
                self._status = event.status_code
            elif isinstance(event, h11.Data):
                self._data(bytes(event.data), now)
            elif isinstance(event, h11.EndOfMessage):
                self.reply.set_result(Reply(self._status, now, self._error))
                return
            elif not isinstance(event, h11.InformationalResponse):
                return  # more is needed, or the connection has closed

    def _data(self, data: bytes, now: float) -> None:
        if self._status in _SUCCESS:
            self._take(data, now)
        elif len(self._error) < _MOST_ERROR_BYTES:
            self._error += data
