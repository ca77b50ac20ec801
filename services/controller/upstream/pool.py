"""The pool of connections to servers of one kind.

Owns idle connections by address, connecting, and the one retry that HTTP allows: a reused
connection that turns out closed before a byte of the answer came. Knows no model, no policy and
no frame.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections import defaultdict, deque
from collections.abc import Callable

from services.controller.upstream.connection import Connection
from services.controller.upstream.origin import Origin, header_block, request_head
from services.controller.upstream.peer import WORKER, Peer
from shared.errors import UpstreamFailed

IDLE_PER_ORIGIN = 64


class Unreachable(UpstreamFailed):
    """No connection could be opened, so nothing was sent."""


class UpstreamPool:
    """Lends connections; each serves one exchange at a time."""

    def __init__(
        self, *, connect_timeout: float, silence_timeout: float, peer: Peer = WORKER
    ) -> None:
        """Start empty; both timeouts are in seconds."""
        self._peer = peer
        self._connect_timeout = connect_timeout
        self.silence_timeout = silence_timeout
        self._idle: defaultdict[Origin, deque[Connection]] = defaultdict(deque)
        self._closed = False

    async def request(
        self,
        origin: Origin,
        path: str,
        headers: bytes,
        body: bytes,
        method: str = "POST",
        *,
        began: Callable[[Connection], None] = lambda _: None,
    ) -> Connection:
        """Send a request and return the connection once the answer's head is there.

        `headers` are lines (`header_block`), to which the body's length is added. `began` is told
        of each connection that the request is sent on, so that it can be failed before its head. The caller ends the exchange with `Connection.release`.

        Raises:
            Unreachable: no connection. UpstreamFailed: it broke off, or answered no HTTP.
            UpstreamTimeout: it was silent.
        """
        framed = b"%bcontent-length: %d\r\n" % (headers, len(body))
        request = request_head(origin, method, path, framed) + body
        head_only = method == "HEAD"
        reused = self._take(origin)
        if reused is not None:
            began(reused)
            try:
                return await _exchange(reused, request, head_only)
            except UpstreamFailed:
                if reused.answered or not self._peer.resends:
                    raise
        connection = await self._connect(origin)
        began(connection)
        return await _exchange(connection, request, head_only)

    async def begin(
        self, origin: Origin, path: str, headers: dict[str, str], method: str
    ) -> Connection:
        """Send a request's head alone, on a new connection; the caller writes its body.

        `headers` tell how long it is. The caller waits for the answer's `head` beside writing,
        since it may come first, and ends the exchange with `Connection.release`.

        Raises:
            Unreachable: no connection.
        """
        connection = await self._connect(origin)
        head = request_head(origin, method, path, header_block(headers.items()))
        connection.send(head, uploading=True, head_only=method == "HEAD")
        return connection

    def close(self) -> None:
        """Close the idle connections, and each other one when it comes back."""
        self._closed = True
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()

    async def _connect(self, origin: Origin) -> Connection:
        peer = self._peer

        def make() -> Connection:
            return Connection(
                self.silence_timeout,
                lambda idle: self._give_back(origin, idle),
                peer=peer.name,
                unframed=peer.unframed,
            )

        try:
            async with asyncio.timeout(self._connect_timeout):
                transport, connection = await peer.dial(make, origin)
        except TimeoutError:
            msg = f"{peer.name} took no connection within {self._connect_timeout:g} seconds."
            raise Unreachable(msg) from None
        except OSError as fault:
            msg = f"{peer.name} takes no connection ({_words(fault)})."
            raise Unreachable(msg) from fault
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _take(self, origin: Origin) -> Connection | None:
        """Return the idle connection used last, the likeliest to be open still."""
        idle = self._idle.get(origin)
        oldest = time.monotonic() - self._peer.idle_seconds
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
        if len(idle) > IDLE_PER_ORIGIN:
            idle.popleft().close()


def _words(fault: OSError) -> str:
    """Return why, in the system's own words, which name no address."""
    if isinstance(fault, ssl.SSLError | socket.gaierror) or not fault.errno:
        return str(fault.strerror or fault)
    return os.strerror(fault.errno)


async def _exchange(connection: Connection, request: bytes, head_only: bool) -> Connection:
    connection.send(request, head_only=head_only)
    try:
        await connection.head()
    except BaseException:
        connection.release(complete=False)
        raise
    return connection
