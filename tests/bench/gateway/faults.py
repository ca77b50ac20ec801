"""What happens when clients leave, workers hang or too much is asked; and what waiting costs."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import httpx

from tests.bench.gateway.bench import Bench, faults
from tests.bench.gateway.gateways import chat
from tests.bench.gateway.load import percentiles
from tests.bench.gateway.processes import ROOT, Upstream, run_load

_ANSWER_TOKENS = 50
_SETTLE_SECONDS = 5.0
_ENOUGH_TOKENS = 3_000


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


async def measure_overload(bench: Bench) -> None:
    """Read the goodput at three times the load that fills all places."""
    seconds = bench.counts.overload_seconds
    engine = ("--ports", "2", "--max-num-seqs", "8", "--max-waiting", "8")
    async with bench.standing(*engine) as (_, gateways):
        for gateway in gateways:
            body = [chat("How much is too much?", max_tokens=_ANSWER_TOKENS)]
            # The time of a full batch is 8.8 ms a token.
            places, lasts = 16, 0.0088 * _ANSWER_TOKENS
            full = await run_load(
                gateway.plan(
                    "closed",
                    bodies=body,
                    connections=places,
                    requests=round(places * seconds / lasts),
                )
            )
            rate = 3 * places / lasts
            much = await run_load(
                gateway.plan("open", bodies=body, rate=rate, requests=round(rate * seconds))
            )
            wrong = sum(n for code, n in much["codes"].items() if code not in {"200", "429", "503"})
            bench.add(
                "3x overload",
                gateway.name,
                faults(much),
                at_capacity_rps=full["requests_per_second"],
                goodput_rps=much["requests_per_second"],
                share=much["requests_per_second"] / (full["requests_per_second"] or 1.0),
                other_answers=wrong,
                p99_ms=much["latency_ms"]["p99"] if much["latency_ms"] else None,
            )


async def measure_leaving(bench: Bench) -> None:
    """Read how long a place stays taken whose client has left."""
    await _leaving(bench, "stream", ("--max-num-seqs", "256"))
    await _leaving(bench, "unary", ("--max-num-seqs", "256"))
    await _leaving(bench, "queued", ("--max-num-seqs", "4", "--max-waiting", "256"))


async def _leaving(bench: Bench, kind: str, engine: Sequence[str]) -> None:
    count = bench.counts.leavers
    async with bench.standing(*engine, "--kv-tokens", "4000000") as (upstream, gateways):
        for gateway in gateways:
            marks = [f"{gateway.name} {kind} {number}" for number in range(count)]
            bodies = [
                chat(mark, stream=kind == "stream", max_tokens=_ENOUGH_TOKENS) for mark in marks
            ]
            left = (
                await run_load(
                    gateway.plan("leave", bodies=bodies, requests=count, pause=0.01, after=0.3)
                )
            )["left"]
            still = await _settled(upstream)
            freed = dict(map(tuple, await _ask(upstream, "/mock/released")))
            delays = [
                freed[mark] - left[str(number)]
                for number, mark in enumerate(marks)
                if mark in freed
            ]
            times = percentiles([max(0.0, delay) for delay in delays])
            never = f", {count - len(delays) - still} never reached a worker"
            bench.add(
                f"leaving, {kind}",
                gateway.name,
                (f"{still} hold on" if still else "none") + (never if kind == "queued" else ""),
                p50_ms=times and times["p50"],
                p99_ms=times and times["p99"],
                held=still,
            )


async def measure_hanging(bench: Bench) -> None:
    """Read how fast a gateway tells of itself while three of four workers never answer."""
    async with bench.standing("--ports", "4") as (upstream, gateways):
        for gateway in gateways:
            if gateway.name == "direct":
                continue
            await _fault(upstream, "mute")
            plan = gateway.plan(
                "closed",
                bodies=[chat("Is anybody there?", max_tokens=8)],
                connections=16,
                requests=64,
                timeout=3.0,
            )
            asking = asyncio.create_task(run_load(plan))
            figures: dict[str, Any] = {}
            wrong: list[str] = []
            for name, path in (("models", "/v1/models"), ("health", gateway.health)):
                probe = gateway.plan(
                    "closed", path, method="GET", connections=1, requests=bench.counts.probes
                )
                load = await run_load({**probe, "timeout": 5.0})
                figures[f"{name}_p99_ms"] = load["latency_ms"] and load["latency_ms"]["p99"]
                wrong += [f"{name}: {faults(load)}"] if faults(load) != "none" else []
            told = await asking
            bench.add(
                "3 workers hang",
                gateway.name,
                "; ".join([*wrong, f"requests: {faults(told)}"]),
                **figures,
                answered=told["completed"] / 64,
            )
            await _fault(upstream, "none")


async def _settled(upstream: Upstream) -> int:
    """Return how many requests still hold a place after a while."""
    left = 0
    for _ in range(round(_SETTLE_SECONDS / 0.1)):
        left = (await _ask(upstream, "/mock/stats"))["answers"]
        if not left:
            break
        await asyncio.sleep(0.1)
    return left


async def _ask(upstream: Upstream, path: str) -> Any:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(f"http://127.0.0.1:{upstream.ports[0]}{path}")).json()


async def _fault(upstream: Upstream, fault: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        for port in upstream.ports[1:]:
            await client.post(f"http://127.0.0.1:{port}/mock/fault", content=fault)


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
