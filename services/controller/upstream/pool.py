"""The pool of connections to workers.

Owns idle connections by address, connecting, and the one retry that HTTP allows: a reused
connection that turns out closed before a byte of the answer came. Knows no model, no policy and
no frame.
"""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from services.controller.upstream.connection import Connection
from shared.errors import UpstreamFailed

IDLE_PER_WORKER = 64
# Shorter than the workers' keep-alive of 30 s, so that a stale connection is rare.
IDLE_SECONDS = 20.0


class Unreachable(UpstreamFailed):
    """No connection could be opened, so nothing was sent."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a worker listens: its base URL, taken apart once."""

    host: str
    port: int
    tls: bool
    prefix: str
    authority: str

    @classmethod
    def of(cls, address: str) -> Self:
        """Return the origin of a base URL that the registry has checked."""
        parts = urlsplit(address)
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        return cls(parts.hostname or "", port, tls, parts.path.rstrip("/"), parts.netloc)


class UpstreamPool:
    """Lends connections; each serves one exchange at a time."""

    def __init__(self, *, connect_timeout: float, silence_timeout: float) -> None:
        """Start empty; both timeouts are in seconds."""
        self._connect_timeout = connect_timeout
        self._silence_timeout = silence_timeout
        self._idle: defaultdict[Origin, deque[Connection]] = defaultdict(deque)
        self._closed = False

    async def request(
        self, origin: Origin, path: str, headers: dict[str, str], body: bytes
    ) -> Connection:
        """Send a POST and return the connection once the answer's head is there.

        The caller ends the exchange with `Connection.release`.

        Raises:
            Unreachable: no connection. UpstreamFailed: it broke off, or answered no HTTP.
            UpstreamTimeout: it was silent.
        """
        request = _request(origin, path, headers, body)
        reused = self._take(origin)
        if reused is not None:
            try:
                return await _exchange(reused, request)
            except UpstreamFailed:
                if reused.answered:
                    raise
        return await _exchange(await self._connect(origin), request)

    def close(self) -> None:
        """Close the idle connections, and each other one when it comes back."""
        self._closed = True
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()

    async def _connect(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout):
                transport, connection = await loop.create_connection(
                    lambda: Connection(
                        self._silence_timeout, lambda idle: self._give_back(origin, idle)
                    ),
                    origin.host,
                    origin.port,
                    ssl=True if origin.tls else None,
                )
        except TimeoutError:
            msg = f"The worker took no connection within {self._connect_timeout:g} seconds."
            raise Unreachable(msg) from None
        except OSError as fault:
            msg = f"The worker takes no connection ({fault.strerror or fault})."
            raise Unreachable(msg) from fault
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _take(self, origin: Origin) -> Connection | None:
        """Return the idle connection used last, the likeliest to be open still."""
        idle = self._idle.get(origin)
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while idle:
            connection = idle.pop()
            if connection.open and connection.idle_since >= oldest:
                return connection
            connection.close()
        return None

    def _give_back(self, origin: Origin, connection: Connection) -> None:
        idle = self._idle[origin]
        if self._closed:
            connection.close()
            return
        idle.append(connection)
        if len(idle) > IDLE_PER_WORKER:
            idle.popleft().close()


async def _exchange(connection: Connection, request: bytes) -> Connection:
    connection.send(request)
    try:
        await connection.head()
    except BaseException:
        connection.release(complete=False)
        raise
    return connection


def _request(origin: Origin, path: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"POST {origin.prefix}{path} HTTP/1.1", f"host: {origin.authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
