"""Streams on which nothing comes but keepalives: what one of them costs."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from tests.bench.gateway.bench import Bench
from tests.bench.gateway.gateways import chat
from tests.bench.gateway.processes import ROOT, run_load


async def measure_idle(bench: Bench) -> None:
    """Read the memory that a stream takes on which nothing comes but keepalives."""
    streams = bench.counts.idle_streams
    served = [name for name in ("llmzoo", *bench.peers) if name != "fastchat"]
    async with bench.standing(stub=("--idle", "--gap", "1.0"), only=served) as (_, gateways):
        for gateway in gateways:
            warm = gateway.plan("closed", bodies=[chat("Warm up.")], connections=8, requests=64)
            await run_load(warm)
            before = gateway.memory()
            plan = gateway.plan(
                "hold",
                bodies=[chat("Wait.", stream=True)],
                connections=streams,
                settle=3.0 + streams * (0.01 if gateway.name == "litellm" else 0),
            )
            async with _Holding(plan) as held:
                taken = gateway.memory() - before
            errors = "none" if held == streams else f"{streams - held} of {streams} not open"
            each = taken / 1024 / held if held else None
            bench.add("idle streams", gateway.name, errors, kib_each=each)


class _Holding:
    """Streams that stay open as long as the context; gives how many there are."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan

    async def __aenter__(self) -> int:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.gateway.load"),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(self._plan).encode() + b"\n")
        return json.loads(await self._process.stdout.readline())["open"]

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
