"""A worker as a process of its own."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Mapping
from typing import Any, Self

import httpx

from tests.fakes.command_line import clean_environment
from tests.fakes.running_service import TOKEN
from tests.fakes.waiting import eventually


class WorkerProcess:
    """`python -m services.worker`, or another module that runs one."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port
        self.client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False
        )

    @classmethod
    async def start(
        cls,
        module: str = "services.worker",
        environment: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> Self:
        """Return a worker with these settings; without `redis_url` it reaches no registry."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        chosen = {
            "redis_url": "unix:///nonexistent/redis.sock",
            "internal_token": TOKEN,
            "worker_port": port,
            "heartbeat_interval": 0.1,
            "threads": 1,
            "device": "cpu",
            "dtype": "float32",
            "log_format": "json",
            **settings,
        }
        variables = {f"LLMZOO_{name.upper()}": str(value) for name, value in chosen.items()}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            env=clean_environment(OMP_NUM_THREADS="1", **variables) | dict(environment or {}),
            stderr=asyncio.subprocess.PIPE,
        )
        return cls(process, port)

    async def state(self) -> str:
        try:
            return (await self.client.get("/health/ready")).json()["state"]
        except httpx.TransportError:
            return ""

    async def reaches(self, *states: str) -> None:
        async def reached() -> bool:
            assert self.process.returncode is None
            return await self.state() in states

        await eventually(reached, seconds=60)

    async def ended(self) -> tuple[int, str]:
        """Return the exit code and what was written to stderr."""
        _, stderr = await asyncio.wait_for(self.process.communicate(), timeout=60)
        assert self.process.returncode is not None
        return self.process.returncode, stderr.decode()

    async def close(self) -> None:
        """Kill it, if it still runs."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.communicate()
        await self.client.aclose()
