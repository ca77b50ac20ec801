"""What happens when too much is asked, workers hang, or Redis is away."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from tests.bench.gateway.bench import Bench, faults
from tests.bench.gateway.gateways import chat
from tests.bench.gateway.processes import Upstream, run_load

_ANSWER_TOKENS = 50
_STEADY_RATE = 200.0


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
                gateway.plan(
                    "open",
                    bodies=body,
                    connections=places,
                    rate=rate,
                    requests=round(rate * seconds),
                )
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


async def measure_redis_away(bench: Bench) -> None:
    """Read latency with Redis there, frozen and killed, one after the other under a steady load."""
    async with bench.standing(stub=("--chunks", "1"), only=("llmzoo",)) as (_, (ours,)):
        before: dict[str, float] | None = None
        for name in ("there", "frozen", "there", "killed", "there"):
            match name:
                case "frozen":
                    bench.redis.freeze()
                case "killed":
                    bench.redis.kill()
            try:
                load = await run_load(
                    ours.plan(
                        "open",
                        bodies=[chat("Who needs Redis?")],
                        connections=16,
                        rate=_STEADY_RATE,
                        requests=round(_STEADY_RATE * bench.counts.outage_seconds),
                    )
                )
            finally:
                match name:
                    case "frozen":
                        bench.redis.thaw()
                    case "killed":
                        bench.redis.restart()
            figures = load["latency_ms"] or {}
            failed = sum(n for code, n in load["codes"].items() if code != "200")
            row: dict[str, float | None] = {"failed": failed, "p99_ms": figures.get("p99")}
            if name == "there":
                before = figures
            elif before and figures:
                row["p99_ratio"] = figures["p99"] / before["p99"]
            bench.add(f"Redis {name}", ours.name, faults(load), p50_ms=figures.get("p50"), **row)


async def _fault(upstream: Upstream, fault: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        for port in upstream.ports[1:]:
            await client.post(f"http://127.0.0.1:{port}/mock/fault", content=fault)
