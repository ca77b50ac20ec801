"""Orders to a zoo that runs: a unix socket in its private folder, one JSON object a line.

`{"restart": ["worker"]}` is answered by `{"told": "…"}` for each step and at last by
`{"done": true}` or `{"failed": "why"}`. Whoever hangs up waits no more. Owns this conversation,
both sides of it; what a restart is, is not its affair.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from typing import TYPE_CHECKING, Any, cast

from shared.errors import RestartFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
    from pathlib import Path

    Restart = Callable[[Sequence[str], Callable[[str], None], asyncio.Event], Awaitable[None]]

ORDER_SECONDS = 10.0
"""In which an order must be there."""
LINE_LIMIT = 65_536
OWNER_ONLY = 0o600


class Control:
    """The zoo's side."""

    def __init__(self, path: Path, group: asyncio.TaskGroup) -> None:
        """Listen at `path` once `serve` runs; conversations are tasks of `group`."""
        self._path = path
        self._group = group
        self._restart: Restart = _not_yet

    def open_to(self, restart: Restart) -> None:
        """Carry orders out from now on; before, they are refused."""
        self._restart = restart

    async def serve(self) -> None:
        """Take orders until cancelled; then the socket is gone."""
        self._path.unlink(missing_ok=True)  # a killed zoo left it
        sock = socket.socket(socket.AF_UNIX)
        try:
            with _short(self._path) as short:
                sock.bind(short)
            self._path.chmod(OWNER_ONLY)
            server = await asyncio.start_unix_server(self._begin, sock=sock, limit=LINE_LIMIT)
            async with server:
                await server.serve_forever()
        finally:
            sock.close()
            self._path.unlink(missing_ok=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._group.create_task(self._converse(reader, writer))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def write(**answer: object) -> None:
            writer.write(json.dumps(answer).encode() + b"\n")

        gone = asyncio.Event()
        watching = None
        try:
            names = await _order(reader)
            watching = asyncio.create_task(_hang_up(reader, gone))
            await self._restart(names, lambda text: write(told=text), gone)
            write(done=True)
        except RestartFailed as fault:
            write(failed=fault.message)
        finally:
            if watching is not None:
                watching.cancel()
            writer.close()


async def _not_yet(*_: object) -> None:
    msg = "the zoo is still starting; try again when it is ready"
    raise RestartFailed(msg)


async def _order(reader: asyncio.StreamReader) -> list[str]:
    """Return the names of what is to be restarted."""
    try:
        async with asyncio.timeout(ORDER_SECONDS):
            order: Any = json.loads(await reader.readline())
        names = order["restart"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as fault:
        msg = "that is no order"
        raise RestartFailed(msg) from fault
    if not isinstance(names, list) or not all(
        isinstance(name, str) for name in cast("list[object]", names)
    ):
        msg = "an order names services"
        raise RestartFailed(msg)
    return cast("list[str]", names)


async def _hang_up(reader: asyncio.StreamReader, gone: asyncio.Event) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(LINE_LIMIT):
            pass
    gone.set()


def order_restart(path: Path, names: Sequence[str]) -> Iterator[str]:
    """Ask the zoo whose socket is at `path` for a restart; yield what it tells.

    Raises:
        RestartFailed: it says why, or does not answer.
    """
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            with _short(path) as short:
                sock.connect(short)
            sock.sendall(json.dumps({"restart": list(names)}).encode() + b"\n")
            with sock.makefile("rb") as answers:
                for line in answers:
                    answer: dict[str, Any] = json.loads(line)
                    if "done" in answer:
                        return
                    if "failed" in answer:
                        raise RestartFailed(str(answer["failed"]))
                    yield str(answer["told"])
        except OSError as fault:
            msg = f"the zoo cannot be reached at {path}: {fault.strerror}"
            raise RestartFailed(msg) from fault
    msg = "the zoo ended meanwhile"
    raise RestartFailed(msg)


@contextlib.contextmanager
def _short(path: Path) -> Generator[str]:
    """Name `path` in fewer bytes than the hundred or so that a socket's address may have."""
    if sys.platform != "linux":
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
