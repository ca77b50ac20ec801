"""One child process: start it, hand on its lines, end it and whatever it started.

Owns the process, its process group and the reading of its output. Does not know what the child
serves, nor whether it is to be started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from services.cli.up.lines import LineSplitter

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

CHUNK_BYTES = 65536
# A grandchild that keeps the pipe open must not keep us waiting for the end of the output.
OUTPUT_GRACE_SECONDS = 1.0


class ChildProcess:
    """A running child in a session of its own, so that a terminal's Ctrl-C does not reach it."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        pipe: asyncio.ReadTransport,
        reader: asyncio.Task[None],
    ) -> None:
        """Keep what belongs to `process`; use `start` to make one."""
        self._process = process
        self._pipe = pipe
        self._reader = reader

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
        *,
        orphan_signal: signal.Signals = signal.SIGKILL,
        listener: socket.socket | None = None,
    ) -> ChildProcess:
        """Start `command`, with `listener` handed down to it if there is one.

        On Linux it gets `orphan_signal` when this process dies.
        """
        # A pipe of our own: `wait` of a process that owns its pipes also waits for whatever
        # grandchild still holds them.
        ours, theirs = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *tied_to_this_process(command, orphan_signal, listener),
                env=environment,
                pass_fds=() if listener is None else (listener.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=theirs,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        output = asyncio.StreamReader()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), os.fdopen(ours, "rb")
        )
        return cls(process, pipe, asyncio.create_task(_pump(output, on_line)))

    @property
    def pid(self) -> int:
        """The process id, which is the id of its group too."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for the end and return the exit code, minus the signal's number if killed."""
        exit_code = await self._process.wait()
        self._signal_group(signal.SIGKILL)  # what the child left behind in its group
        done, _ = await asyncio.wait({self._reader}, timeout=OUTPUT_GRACE_SECONDS)
        if not done:
            self._reader.cancel()
        self._pipe.close()
        return exit_code

    def terminate(self) -> None:
        """Ask the child to end; its own children are its business."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """End the child and its whole group at once."""
        if self._process.returncode is None:
            self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


async def _pump(output: asyncio.StreamReader, on_line: Callable[[str], None]) -> None:
    splitter = LineSplitter()
    while chunk := await output.read(CHUNK_BYTES):
        for line in splitter.feed(chunk):
            on_line(line)
    for line in splitter.finish():
        on_line(line)


def tied_to_this_process(
    command: Sequence[str], orphan_signal: signal.Signals, listener: socket.socket | None
) -> list[str]:
    """Return `command` wrapped so that even a `kill -9` of this process ends it (on Linux)."""
    launcher = Path(__file__).with_name("launch.py")
    descriptor = "-" if listener is None else str(listener.fileno())
    told = [str(os.getpid()), str(int(orphan_signal)), descriptor]
    return [sys.executable, "-I", "-S", str(launcher), *told, *command]
