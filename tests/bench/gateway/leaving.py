"""How soon a place is free whose client has left: while streaming, waiting, queued, at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx

from tests.bench.gateway.bench import Bench, faults
from tests.bench.gateway.gateways import Gateway, chat
from tests.bench.gateway.load import percentiles
from tests.bench.gateway.processes import Upstream, run_load

_SETTLE_SECONDS = 5.0
_ENOUGH_TOKENS = 3_000
_ROOMY = ("--kv-tokens", "4000000")


async def measure_leaving(bench: Bench) -> None:
    """Read how long a place stays taken, and whether any stays taken for good."""
    await _leaving(bench, "stream", ("--max-num-seqs", "256"))
    await _leaving(bench, "unary", ("--max-num-seqs", "256"))
    await _leaving(bench, "queued", ("--max-num-seqs", "4", "--max-waiting", "256"))
    await _random(bench)


async def _leaving(bench: Bench, kind: str, engine: Sequence[str]) -> None:
    count = bench.counts.leavers
    async with bench.standing(*engine, *_ROOMY) as (upstream, gateways):
        for gateway in gateways:
            marks = [f"{gateway.name} {kind} {number}" for number in range(count)]
            bodies = [
                chat(mark, stream=kind == "stream", max_tokens=_ENOUGH_TOKENS) for mark in marks
            ]
            plan = gateway.plan(
                "leave", bodies=bodies, requests=count, pause=0.01, after=[0.3, 0.3]
            )
            load = await run_load(plan)
            still = await _settled(upstream)
            freed: dict[str, float] = dict(await _ask(upstream, "/mock/released"))
            delays = [
                max(0.0, freed[mark] - load["left"][str(number)])
                for number, mark in enumerate(marks)
                if mark in freed and str(number) in load["left"]
            ]
            times = percentiles(delays)
            bench.add(
                f"leaving, {kind}",
                gateway.name,
                _errors(load),
                p50_ms=times and times["p50"],
                p99_ms=times and times["p99"],
                still_held=still,
                # A request that left the gateway's own queue has never reached a worker.
                never_there=count - len(delays) - still,
                next_request_ms=await _next_request(gateway),
            )


async def _random(bench: Bench) -> None:
    """Leave within a tenth of a second, streams and unary requests in turns."""
    count = bench.counts.random_leavers
    engine = ("--ports", "2", "--max-num-seqs", "256", "--max-waiting", "256")
    async with bench.standing(*engine, *_ROOMY) as (upstream, gateways):
        for gateway in gateways:
            bodies = [chat("Stay.", stream=streamed) for streamed in (False, True)]
            plan = gateway.plan(
                "leave", bodies=bodies, requests=count, pause=0.002, after=[0.0, 0.1]
            )
            load = await run_load(plan)
            bench.add(
                "leaving, at random",
                gateway.name,
                _errors(load),
                still_held=await _settled(upstream),
                next_request_ms=await _next_request(gateway),
            )


def _errors(load: dict[str, Any]) -> str:
    codes = {code: n for code, n in load["codes"].items() if code != "-2"}
    return faults({"codes": codes})


async def _next_request(gateway: Gateway) -> float | None:
    """Return the milliseconds that an ordinary request takes afterwards."""
    plan = gateway.plan(
        "closed", bodies=[chat("And now?", max_tokens=1)], connections=1, requests=1, timeout=20.0
    )
    load = await run_load(plan)
    return load["latency_ms"] and load["latency_ms"]["p50"]


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
