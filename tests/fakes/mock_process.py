"""A mock worker as a process of its own, which can be killed, stopped and told to end."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any, Self

import httpx

from tests.fakes.running_service import TOKEN


class MockProcess:
    """`python -m tests.fakes.mock_engine` with one worker."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, port: int) -> None:
        self.name = name
        self.port = port
        self._process = process

    @classmethod
    async def start(cls, name: str, redis_url: str, **options: Any) -> Self:
        """Return it once it listens; `options` are the command's, by their long names."""
        chosen = {
            "name": name,
            "token": TOKEN,
            "redis_url": redis_url,
            "heartbeat_interval": 0.1,
            "heartbeat_ttl": 1.0,
            "max_num_seqs": 256,
            "max_waiting": 256,
            "kv_tokens": 1_000_000,
            "sequence_ms": 0.0,
            **options,
        }
        arguments = [
            part
            for option, value in chosen.items()
            for part in ("--" + option.replace("_", "-"), str(value))
        ]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.fakes.mock_engine", *arguments),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        line = await process.stdout.readline()
        return cls(name, process, json.loads(line)["ports"][0])

    async def counts(self) -> dict[str, int]:
        """Return what it has counted."""
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"http://127.0.0.1:{self.port}/mock/stats")
        return answer.json()["counts"]

    def freeze(self) -> None:
        """Stop it with SIGSTOP: connections stay open and nothing comes."""
        self._process.send_signal(signal.SIGSTOP)

    def terminate(self) -> None:
        """Tell it to drain and to end."""
        self._process.terminate()

    async def kill(self) -> None:
        """End it with SIGKILL; does nothing when it has ended."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def ended(self) -> int:
        """Return the exit code."""
        return await asyncio.wait_for(self._process.wait(), 20)
