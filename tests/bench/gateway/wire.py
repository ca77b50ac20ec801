"""A client's connection for load generation: requests one after the other, as cheaply as can be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, cast

import httptools

BROKEN = 0
"""The code of an answer that broke off, or never began."""

Take = Callable[[bytes, float], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request ended, and when by the monotonic clock."""

    code: int
    ended: float


@dataclass(frozen=True, slots=True)
class Target:
    host: str
    port: int

    def request(self, method: str, path: str, headers: dict[str, str], body: str = "") -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"host: {self.host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        raw = body.encode()
        if raw:
            lines += ["content-type: application/json", f"content-length: {len(raw)}"]
        return "\r\n".join([*lines, "", ""]).encode() + raw


class Wire(asyncio.Protocol):
    """`exchange` one request at a time; `usable` says whether there can be another."""

    def __init__(self) -> None:
        self.usable = False
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._ended: asyncio.Future[Answer] | None = None
        self._take: Take | None = None

    @property
    def status(self) -> int:
        """Status of the answer that is being read."""
        return self._parser.get_status_code()

    @classmethod
    async def open(cls, target: Target) -> Self:
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(cls, target.host, target.port)
        return wire

    async def exchange(self, request: bytes, take: Take | None = None) -> Answer:
        """Send a request and return when its answer has ended; `take` gets the body's pieces."""
        assert self._transport is not None
        self._ended = asyncio.get_running_loop().create_future()
        self._take = take
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)
        return await self._ended

    def close(self) -> None:
        """Leave at once, whatever is under way."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.usable = True

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.usable = False
        self._transport = None
        self._end(BROKEN)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._end(BROKEN)
            self.close()

    def on_body(self, body: bytes) -> None:
        if self._take is not None:
            self._take(body, time.monotonic())

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.close()
        self._end(self._parser.get_status_code())

    def _end(self, code: int) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(Answer(code, time.monotonic()))
