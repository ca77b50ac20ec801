"""A TCP proxy before a unix socket that can lose what passes, as a dead link does.

Connections stay open when it does: neither side is told anything.
"""

from __future__ import annotations

import asyncio
import contextlib


class SwallowingProxy:
    """`swallow` loses all later bytes of the connections that are open now; new ones work."""

    def __init__(self, path: str) -> None:
        self.url = ""
        self._path = path
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.Event] = set()

    @property
    def open_connections(self) -> int:
        return len(self._open)

    async def start(self) -> SwallowingProxy:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"redis://127.0.0.1:{port}/0"
        return self

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def swallow(self) -> None:
        for swallowing in self._open:
            swallowing.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        swallowing = asyncio.Event()
        self._open.add(swallowing)
        try:
            there, back = await asyncio.open_unix_connection(self._path)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(_pass(reader, back, swallowing))
                    group.create_task(_pass(there, writer, swallowing))
            finally:
                back.close()
        except* (asyncio.CancelledError, OSError):
            pass
        finally:
            self._open.discard(swallowing)
            self._tasks.discard(task)
            writer.close()


async def _pass(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, swallowing: asyncio.Event
) -> None:
    """Pass bytes on until an end comes; a swallowed end is lost as well."""
    while piece := await reader.read(65536):
        if not swallowing.is_set():
            writer.write(piece)
            await writer.drain()
    if not swallowing.is_set():
        with contextlib.suppress(OSError):
            writer.write_eof()
