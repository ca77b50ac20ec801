"""CPU time, added latency, added inter-token time: everything that stands before the stub."""

from __future__ import annotations

from typing import Any

from tests.bench.gateway.bench import SLOW, Bench, faults, turned
from tests.bench.gateway.gateways import Gateway, chat
from tests.bench.gateway.processes import run_load

_QUESTION = "What does a router do with a request that no worker can take at the moment? " * 3
_LANES = 32
_GAP = "0.02"


async def measure_cpu(bench: Bench) -> None:
    """Read requests a second and CPU time, of unary requests and of streamed chunks."""
    counts = bench.counts
    stub = ("--chunks", str(counts.chunks), "--gap", _GAP)
    async with bench.standing(stub=stub) as (_, gateways):
        for gateway in gateways:
            await run_load(_unary(gateway, max(_LANES, bench.requests(gateway, 1_000))))
        for number in range(counts.rounds):
            for gateway in turned(gateways, number):
                await _cpu_of(bench, gateway)


async def _cpu_of(bench: Bench, gateway: Gateway) -> None:
    counts = bench.counts
    before = gateway.cpu_seconds()
    load = await run_load(_unary(gateway, bench.requests(gateway, counts.unary_requests)))
    spent = gateway.cpu_seconds() - before
    bench.add(
        "unary",
        gateway.name,
        faults(load),
        rps=load["requests_per_second"],
        cpu_us=_micro(spent, load["completed"]),
        p99_ms=_of(load, "latency_ms", "p99"),
        client_cpu=load["client_cpu"],
    )
    await _cpu_of_streams(bench, gateway, "stream")


async def _cpu_of_streams(bench: Bench, gateway: Gateway, measure: str) -> None:
    """Read the CPU time of a chunk; without a `measure` it is not kept."""
    counts = bench.counts
    before = gateway.cpu_seconds()
    plan = gateway.plan(
        "streams",
        bodies=[chat(_QUESTION, stream=True)],
        connections=counts.streams,
        # The system counts in hundredths of a second: the quick ones need more to count.
        requests=counts.streams * (1 if gateway.name in SLOW else 3),
        streamed=True,
        spread=0.5,
    )
    load = await run_load(plan)
    spent = gateway.cpu_seconds() - before
    if not measure:
        return
    bench.add(
        measure,
        gateway.name,
        faults(load),
        chunks=load["pieces"],
        cpu_us_a_chunk=_micro(spent, load["pieces"]),
        client_cpu=load["client_cpu"],
    )


async def measure_ledger(bench: Bench) -> None:
    """Read the CPU time of streamed chunks with and without an account of what is passed on."""
    counts = bench.counts
    stub = ("--chunks", str(counts.chunks), "--gap", _GAP)
    bench.with_ledgerless = True
    names = ("llmzoo", "without ledger")
    try:
        async with bench.standing(stub=stub, only=names) as (_, gateways):
            for number in range(counts.rounds + 1):
                for gateway in turned(gateways, number):
                    # The first round warms up.
                    await _cpu_of_streams(bench, gateway, "ledger" if number else "")
    finally:
        bench.with_ledgerless = False


async def measure_latency(bench: Bench) -> None:
    """Read what a gateway adds: latency at 30 % of our capacity, TTFT and ITL of many streams."""
    counts = bench.counts
    stub = ("--chunks", str(counts.chunks), "--gap", _GAP)
    async with bench.standing(stub=stub) as (_, gateways):
        ours = next(gateway for gateway in gateways if gateway.name == "llmzoo")
        load = await run_load(_unary(ours, counts.unary_requests))
        rate = 0.3 * load["requests_per_second"]
        fast = [g for g in gateways if g.name not in SLOW]
        for number in range(counts.rounds):
            for gateway in turned(fast, number):
                await _added_latency(bench, gateway, rate)
            for gateway in turned(gateways, number):
                await _added_gaps(bench, gateway)


async def _added_latency(bench: Bench, gateway: Gateway, rate: float) -> None:
    plan = gateway.plan(
        "open",
        bodies=[chat(_QUESTION)],
        connections=_LANES,
        rate=rate,
        requests=round(rate * bench.counts.open_seconds),
    )
    load = await run_load(plan)
    bench.add(
        "latency at 30 %",
        gateway.name,
        faults(load),
        p50_ms=_of(load, "latency_ms", "p50"),
        p99_ms=_of(load, "latency_ms", "p99"),
        rate=rate,
    )


async def _added_gaps(bench: Bench, gateway: Gateway) -> None:
    streams = bench.counts.many_streams
    plan = gateway.plan(
        "streams",
        bodies=[chat(_QUESTION, stream=True)],
        connections=streams,
        requests=streams,
        streamed=True,
        spread=1.0,
    )
    load = await run_load(plan)
    bench.add(
        "many streams",
        gateway.name,
        faults(load),
        ttft_p50_ms=_of(load, "ttft_ms", "p50"),
        itl_p99_ms=_of(load, "itl_ms", "p99"),
        client_cpu=load["client_cpu"],
    )


def _unary(gateway: Gateway, requests: int) -> dict[str, Any]:
    return gateway.plan("closed", bodies=[chat(_QUESTION)], connections=_LANES, requests=requests)


def _micro(seconds: float, count: int) -> float | None:
    return seconds * 1e6 / count if count else None


def _of(load: dict[str, Any], name: str, rank: str) -> float | None:
    return load[name][rank] if load[name] else None
