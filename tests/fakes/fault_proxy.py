"""A TCP proxy before a worker that does to its answers what a plan says.

The plan is a list of `WireFault`; each answer that a fault is meant for takes the first such one
from it, in the order in which answers begin. What takes none passes unharmed. Beside the plan, all
connections can be cut at once, and the port can be closed and opened again, as a dead process's is.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections import Counter
from collections.abc import Iterable

from shared.http.server import bind
from tests.fakes.wire_faults import FaultKind, Scope, WireFault, passes

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"transfer-encoding: *chunked", re.IGNORECASE)
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: the close is a RST."""
_LIMIT = 64 * 1024 * 1024


class FaultProxy:
    """Takes connections on `port` and opens one each to `target`."""

    def __init__(self, target: int, plan: Iterable[WireFault] = ()) -> None:
        self.target = target
        self.port = 0
        self.plan = list(plan)
        self.counts: Counter[str] = Counter()
        """Of connections, answers by scope, and faults by kind."""
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open_connections(self) -> int:
        return len(self._tasks)

    async def up(self) -> FaultProxy:
        """Listen, on the same port each time."""
        self._listener = bind("127.0.0.1", self.port).sock
        self.port = self._listener.getsockname()[1]
        self._listener.listen(2048)
        self._listener.setblocking(False)
        # An asyncio.Server that is closed in the moment of a connection leaves it open.
        asyncio.get_running_loop().add_reader(self._listener, self._accept)
        return self

    async def down(self) -> None:
        """Close the port and everything open, as a killed process does."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await self.cut_all()

    async def cut_all(self) -> None:
        """Reset every connection that is open now."""
        tasks = tuple(self._tasks)
        # One that has not begun would have nothing to close its connection.
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def take(self, scope: Scope) -> WireFault:
        """Return the fault that something of this scope meets."""
        for index, fault in enumerate(self.plan):
            if fault.hits(scope):
                return self.plan.pop(index)
        return passes()

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.counts["connections"] += 1
        task = asyncio.create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection, limit=_LIMIT)
        try:
            await self._pass_through(reader, writer)
        except asyncio.CancelledError:
            _reset(writer)
        finally:
            writer.close()

    async def _pass_through(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        fault = self.take(Scope.CONNECTION)
        if fault.kind is FaultKind.SLOW_ACCEPT:
            self.counts[fault.kind] += 1
            await asyncio.sleep(fault.seconds)
        try:
            from_worker, to_worker = await asyncio.open_connection(
                "127.0.0.1", self.target, limit=_LIMIT
            )
        except OSError:
            _reset(writer)
            return
        answers = asyncio.create_task(_Answers(self, from_worker, writer).pass_on())
        try:
            asking = asyncio.create_task(_pass_on(reader, to_worker))
            try:
                await asyncio.wait({answers, asking}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                asking.cancel()
                answers.cancel()
                await asyncio.gather(asking, answers, return_exceptions=True)
        finally:
            to_worker.transport.abort()


class _Over(Exception):
    """The fault has ended the connection."""


class _Answers:
    """The answers on one connection, one after the other."""

    def __init__(
        self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self._fault = passes()
        self._sent = 0

    async def pass_on(self) -> None:
        """Return when one side, or a fault, has ended the connection."""
        with contextlib.suppress(_Over, OSError, asyncio.IncompleteReadError):
            while True:
                await self._pass_one()

    async def _pass_one(self) -> None:
        head = await self._reader.readuntil(b"\r\n\r\n")
        chunked = _CHUNKED.search(head) is not None
        scope = Scope.STREAM if chunked else Scope.CALL
        self._proxy.counts[scope] += 1
        self._fault, self._sent = self._proxy.take(scope), 0
        await self._put(head)
        if not chunked:
            length = _LENGTH.search(head)
            await self._put(await self._reader.readexactly(int(length[1]) if length else 0))
            return
        await self._between_chunks()
        while await self._chunk():
            await self._between_chunks()

    async def _chunk(self) -> int:
        """Pass a chunk on and return its size; the last one has none."""
        line = await self._reader.readuntil(b"\r\n")
        size = int(line, 16)
        await self._put(line + await self._reader.readexactly(size + 2))
        return size

    async def _put(self, piece: bytes) -> None:
        fault = self._fault
        left = fault.at - self._sent
        self._sent += len(piece)
        match fault.kind:
            case FaultKind.CUT | FaultKind.RESET | FaultKind.HALF_CLOSE | FaultKind.STALL:
                if left <= len(piece):
                    await self._write(piece[: max(0, left)])
                    await self._end(fault.kind)
            case FaultKind.DRIBBLE if left < len(piece):
                if left >= 0:
                    self._count(fault.kind)
                await self._write(piece[: max(0, left)])
                for index in range(max(0, left), len(piece)):
                    await self._write(piece[index : index + 1])
                    await asyncio.sleep(0)
                return
            case _:
                pass
        await self._write(piece)

    async def _end(self, kind: FaultKind) -> None:
        self._count(kind)
        match kind:
            case FaultKind.RESET:
                _reset(self._writer)
            case FaultKind.CUT:
                self._writer.close()
            case FaultKind.HALF_CLOSE:
                self._writer.write_eof()
                await asyncio.Event().wait()  # until the client has closed as well
            case _:
                await asyncio.Event().wait()
        raise _Over

    async def _between_chunks(self) -> None:
        fault = self._fault
        if self._sent < fault.at:
            return
        match fault.kind:
            case FaultKind.INJECT:
                self._count(fault.kind)
                await self._write(_chunk(fault.data))
            case FaultKind.ERROR:
                self._count(fault.kind)
                await self._write(_chunk(fault.data) + b"0\r\n\r\n")
                self._writer.close()
                raise _Over
            case FaultKind.CORRUPT:
                self._count(fault.kind)
                await self._write(fault.data)
            case _:
                return
        self._fault = passes()

    async def _write(self, data: bytes) -> None:
        if data:
            self._writer.write(data)
            await self._writer.drain()

    def _count(self, kind: FaultKind) -> None:
        self._proxy.counts[kind] += 1


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    # A transport that is closed already has none.
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass a client's bytes on until its end."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
