"""Keeps one service running: start, watch until ready, start again after a back-off, stop.

Owns the life of one child after another. Knows nothing of the other services, nor of the order
among them.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import deque
from typing import TYPE_CHECKING

from services.cli.up.first_of import first_of
from services.cli.up.probes import STARTING
from services.cli.up.process import ChildProcess
from services.cli.up.restarts import RestartPolicy, Restarts
from shared.errors import ConfigurationError

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from services.cli.up.console import Console
    from services.cli.up.probes import Probe, Readiness

PROBE_INTERVAL_SECONDS = 0.1
REMEMBERED_LINES = 5
# Progress is worth a line when it moved by so much, or when this time passed.
PROGRESS_SECONDS = 5.0


class SupervisedService:
    """One service, whichever process it runs in at the moment."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        probe: Probe,
        *,
        console: Console,
        policy: RestartPolicy,
        must_start: bool = False,
        orphan_signal: signal.Signals = signal.SIGKILL,
        listener: socket.socket | None = None,
    ) -> None:
        """Describe the service; `begin` starts it.

        Args:
            name: as it stands before its log lines.
            command: the program and its arguments.
            environment: the whole environment of the process.
            probe: asks whether the process is ready.
            console: gets the process's lines, and ours about it.
            policy: when to start it again.
            must_start: give up if the first process ends before it is ready.
            orphan_signal: what the process gets when the supervisor is killed.
            listener: handed down to each process; clients wait in it while there is none.
        """
        self.name = name
        self.detail = ""
        self.ready = asyncio.Event()
        self.waits = asyncio.Event()
        """Set once a process waits for what another service holds."""
        self._command = command
        self._environment = environment
        self._probe = probe
        self._console = console
        self._restarts = Restarts(policy)
        self._must_start = must_start
        self._orphan_signal = orphan_signal
        self._listener = listener
        self._last_lines: deque[str] = deque(maxlen=REMEMBERED_LINES)
        self._child: ChildProcess | None = None
        self._stopping = asyncio.Event()
        self._life: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, None while no process runs."""
        return None if self._child is None else self._child.pid

    @property
    def last_words(self) -> str:
        """The last lines that the service wrote."""
        return "\n".join(self._last_lines)

    def begin(self) -> None:
        """Start the service and keep it running until `stop`."""
        self._life = asyncio.create_task(self._live())

    async def ended(self) -> None:
        """Wait until the service is stopped or given up.

        Raises:
            ConfigurationError: it refused its configuration as often as it may.
        """
        if self._life is not None:
            await asyncio.shield(self._life)

    async def started(self) -> bool:
        """Wait until the service is ready (True) or given up (False)."""
        await first_of(self.ready.wait(), self.ended())
        return self.ready.is_set()

    async def stop(self, grace_seconds: float) -> bool:
        """Ask the service to end; after `grace_seconds` kill it. Returns whether it obeyed."""
        self._stopping.set()
        if self._child is not None:
            self._child.terminate()
        if self._life is None:
            return True
        done, _ = await asyncio.wait({self._life}, timeout=grace_seconds)
        if not done:
            self._console.say(f"did not stop within {grace_seconds:.0f} s: killed", self.name)
            self.kill()
            await asyncio.wait({self._life})
        return bool(done)

    def kill(self) -> None:
        """End the service at once and for good."""
        self._stopping.set()
        if self._child is not None:
            self._child.kill()

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            ready_at, exit_code = await self._one_process()
            self.ready.clear()
            if self._stopping.is_set() or (self._must_start and ready_at is None):
                return
            self._must_start = False
            self._restarts.count(exit_code, None if ready_at is None else loop.time() - ready_at)
            if self._restarts.hopeless:
                msg = f"the {self.name} cannot start: {self.last_words or 'it gave no reason'}"
                raise ConfigurationError(msg)
            delay = self._restarts.delay
            self._console.say(f"{_told(exit_code)}; starts again in {delay:g} s", self.name)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)

    async def _one_process(self) -> tuple[float | None, int]:
        """Run one process to its end; returns the loop's time at which it was ready, exit code."""
        self._last_lines.clear()
        child = await ChildProcess.start(
            self._command,
            self._environment,
            self._hear,
            orphan_signal=self._orphan_signal,
            listener=self._listener,
        )
        self._child = child
        if self._stopping.is_set():  # asked while the child was being made
            child.terminate()
        watching = asyncio.create_task(self._watch(child.pid))
        exit_code = await child.wait()
        self._child = None
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            return await watching, exit_code
        return None, exit_code

    async def _watch(self, pid: int) -> float:
        """Ask until process `pid` is ready; return the loop's time, and tell what it does so far."""
        loop = asyncio.get_running_loop()
        told, told_at = "", loop.time()
        while not (now := await self._ask(pid)).ready:
            if now.detail != told and (
                _state(now.detail) != _state(told) or loop.time() - told_at >= PROGRESS_SECONDS
            ):
                told, told_at = now.detail, loop.time()
                self._console.say(told, self.name)
            await asyncio.sleep(PROBE_INTERVAL_SECONDS)
        self._console.say("ready", self.name)
        self.ready.set()
        return loop.time()

    async def _ask(self, pid: int) -> Readiness:
        now = await self._probe()
        if now.pid not in {0, pid}:  # the process that this one is to replace
            now = STARTING
        self.detail = now.detail
        if now.waits:
            self.waits.set()
        return now

    def _hear(self, line: str) -> None:
        self._last_lines.append(line)
        self._console.relay(self.name, line)


def _state(detail: str) -> str:
    return detail.partition(" ")[0]


def _told(exit_code: int) -> str:
    if exit_code < 0:
        return f"was killed by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}"
