"""Processes of a measurement: started, watched by the operating system's counts, ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from services.cli.up.redis_server import find_binaries

ROOT = Path(__file__).resolve().parents[3]
_STOP_SECONDS = 5.0


def free_port() -> int:
    """Return a port below those that the system gives out by itself, so that it stays free."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class ChildProcess:
    """A child and its children; what it writes goes to a file in `folder`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        environment: dict[str, str] | None = None,
        *,
        piped: bool = False,
    ) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                list(map(str, command)),
                cwd=ROOT if piped else folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else log,
                stderr=log,
            )
        self._process = psutil.Process(self.popen.pid)

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    def cpu_seconds(self) -> float:
        """User and system time of the child, its children, and those of them that have ended."""
        total = 0.0
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += sum(process.cpu_times()[:4])
        return total

    def memory(self) -> int:
        """Return the resident bytes of all of them."""
        total = 0
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    def stop(self) -> None:
        """End the child and its children, politely at first."""
        family = self._family() if self.running else []
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        _, left = psutil.wait_procs(family, timeout=_STOP_SECONDS)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.popen.wait()
        if self.popen.stdout is not None:
            self.popen.stdout.close()

    def _family(self) -> list[psutil.Process]:
        try:
            return [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


class Redis(ChildProcess):
    """A server of its own on a unix socket, which keeps nothing."""

    def __init__(self, folder: Path) -> None:
        path = folder / "redis.sock"
        self.url = f"unix://{path}"
        options = ("--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", str(path))
        self._start = partial(super().__init__, "redis", [next(find_binaries()), *options], folder)
        self._start()

    def freeze(self) -> None:
        """Let it answer nothing, with its connections open."""
        self.popen.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.popen.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        self.popen.kill()
        self.popen.wait()

    def restart(self) -> None:
        """Start it anew, empty, after it was killed."""
        self._start()


class Upstream(ChildProcess):
    """Workers of `tests.fakes.mock_engine`, with these options."""

    def __init__(self, folder: Path, *options: str) -> None:
        command = [sys.executable, "-m", "tests.fakes.mock_engine", *options]
        super().__init__("upstream", command, folder, piped=True)
        assert self.popen.stdout is not None
        told = self.popen.stdout.readline()
        if not told.startswith(b"{"):
            self.stop()
            sys.exit(f"the workers did not start:\n{self.log.read_text()}")
        self.ports: list[int] = json.loads(told)["ports"]


async def run_load(plan: dict[str, Any]) -> dict[str, Any]:
    """Let the load generator, a process of its own, carry out a plan."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.gateway.load"),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate(json.dumps(plan).encode())
    if process.returncode:
        sys.exit(f"the load generator failed at {plan['kind']}")
    return json.loads(told)
