"""An evaluator as a process of its own, with a client of its API."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx

from shared.http.server import bind
from tests.fakes.waiting import eventually

ENDS = {"completed", "failed", "canceled"}


class EvaluatorProcess:
    """`python -m services.evaluator` on a free port; it can be killed and started again."""

    def __init__(self, redis_url: str, models_url: str, log: Path, **settings: object) -> None:
        # Held until the start, so that two of them do not find the same port free.
        self._listener = bind("127.0.0.1", 0)
        self.url = self._listener.url
        self.log = log
        own = {
            "redis_url": redis_url,
            "base_url": models_url,
            "evaluator_port": self._listener.port,
            "eval_concurrency": 2,
            "heartbeat_interval": 0.1,
            "heartbeat_ttl": 1.0,
            **settings,
        }
        variables = {f"LLMZOO_{name.upper()}": str(value) for name, value in own.items()}
        self._environment = {**os.environ, **variables}
        self._process: asyncio.subprocess.Process | None = None
        self.client = httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=10)

    async def start(self, until: str = "ready") -> None:
        """Start it and wait until `/health/<until>` agrees."""
        self._listener.sock.close()
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.evaluator", env=self._environment, stderr=log
            )
        await eventually(lambda: self.healthy(until), seconds=20)

    async def healthy(self, check: str) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self.log.read_text()
        with contextlib.suppress(httpx.TransportError):
            return (await self.client.get(f"/health/{check}")).is_success
        return False

    def memory(self, field: str) -> int:
        """Return bytes by a field of its `/proc/PID/status`."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition(f"{field}:")[2].split()[0]) * 1024

    async def end(self, with_signal: signal.Signals) -> int:
        """Send the signal, wait, return the exit code."""
        assert self._process is not None
        self._process.send_signal(with_signal)
        code = await asyncio.wait_for(self._process.wait(), 20)
        self._process = None
        return code

    async def close(self) -> None:
        self._listener.sock.close()
        await self.client.aclose()
        if self._process is not None:
            await self.end(signal.SIGKILL)

    async def get(self, path: str, **params: object) -> dict[str, Any]:
        response = await self.client.get(path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    async def post(self, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        return await self.client.post(path, json=body)

    async def create_run(self, spec: dict[str, Any], run: dict[str, Any]) -> str:
        """Create an eval and a run of it; return the run's path."""
        created = await self.post("/v1/evals", spec)
        assert created.status_code in {200, 201}, created.text
        queued = await self.post(f"{created.headers['location']}/runs", run)
        assert queued.status_code == 202, queued.text
        return queued.headers["location"]

    async def ended(self, path: str) -> dict[str, Any]:
        """Wait until the run at `path` has ended; return it."""
        run: dict[str, Any] = {}

        async def over() -> bool:
            run.update(await self.get(path))
            return run["status"] in ENDS

        await eventually(over, seconds=20)
        return run

    async def items(self, path: str) -> list[dict[str, Any]]:
        return (await self.get(f"{path}/output_items", limit=100))["data"]
