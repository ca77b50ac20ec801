"""A controller as a process of its own, set up by the environment, with a client of its API."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import httpx

from shared.http.server import bind
from tests.fakes.scrape import sample
from tests.fakes.waiting import eventually


class ControllerProcess:
    """`python -m services.controller` on a free port."""

    def __init__(self, log: Path, **settings: object) -> None:
        # Held until the start, so that two of them do not find the same port free.
        self._listener = bind("127.0.0.1", 0)
        self.port = self._listener.port
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        own = {"controller_port": self.port, "log_level": "debug", **settings}
        variables = {f"LLMZOO_{name.upper()}": str(value) for name, value in own.items()}
        self._environment = {**os.environ, **variables}
        self._process: asyncio.subprocess.Process | None = None
        self.client = httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=10)

    async def start(self) -> ControllerProcess:
        """Start it, also after `kill`, and wait until it is ready; a start that fails ends it."""
        self._listener.sock.close()
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "services.controller"),
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        try:
            await eventually(self._ready, seconds=20)
        except BaseException:
            # Who waits for the start has nothing to stop yet.
            await self.stop()
            raise
        return self

    async def end(self) -> int:
        """Tell it to end and return its exit code."""
        assert self._process is not None
        self._process.terminate()
        return await asyncio.wait_for(self._process.wait(), 20)

    async def kill(self) -> None:
        """End it with SIGKILL; does nothing when it does not run."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None

    async def stop(self) -> None:
        """End it at once, for good; a second call does nothing."""
        self._listener.sock.close()
        await self.client.aclose()
        await self.kill()

    async def metric(self, name: str, **labels: str) -> float:
        return sample((await self.client.get("/metrics")).text, name, **labels)

    async def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self._log.read_text()
        with contextlib.suppress(httpx.TransportError):
            return (await self.client.get("/health/ready")).is_success
        return False
