"""The load generator, a process of its own: one plan as JSON on stdin, its figures on stdout.

    closed    `connections` lanes send `requests` in all, one after the other
    open      arrivals at `rate` a second (Poisson), `requests` in all, however many still run;
              `connections` are there before the first
    streams   as `closed`, but each lane begins at a time of its own within `spread` seconds
    hold      opens `connections` streams, says how many there are and keeps them until stdin ends
    leave     sends `requests`, one every `pause` s, and leaves each after [least, most] `after` s

Common: targets [[host, port]] (used in turns), path, method, headers, bodies (used in turns, or
`bodies` absent for none), timeout. An answer's code is 0 if it broke off, -1 if it took too long.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from functools import partial
from random import Random
from statistics import fmean
from typing import Any

import uvloop

from tests.bench.gateway.wire import BROKEN, Answer, Target, Wire

TIMED_OUT = -1
_LEFT = -2
_SEED = 20
_PACE_SECONDS = 0.002


class Sample:
    """One request's times; pieces are counted by their events."""

    __slots__ = ("code", "ended", "first", "gaps", "last", "pieces", "started")

    def __init__(self, started: float) -> None:
        self.started = started
        self.first = self.last = self.ended = 0.0
        self.gaps: list[float] = []
        self.pieces = 0
        self.code = TIMED_OUT

    def take(self, data: bytes, now: float) -> None:
        if events := data.count(b"data: "):
            if self.first:
                # Events that came together had no gap between them but the first's.
                self.gaps.append(now - self.last)
                self.gaps.extend([0.0] * (events - 1))
            else:
                self.first = now
            self.last = now
            self.pieces += events


class Generator:
    """Carries out a plan."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.samples: list[Sample] = []
        self._targets = [Target(*target) for target in plan["targets"]]
        bodies = plan.get("bodies") or [""]
        method = plan.get("method", "POST")
        turns = max(len(bodies), len(self._targets))
        made = [
            (target, target.request(method, plan["path"], plan["headers"], body))
            for target, body in itertools.islice(
                zip(itertools.cycle(self._targets), itertools.cycle(bodies), strict=False), turns
            )
        ]
        self._requests = itertools.cycle(made)
        self._idle: dict[Target, list[Wire]] = {target: [] for target in self._targets}
        self._streamed = plan.get("streamed", False)
        self._timeout = plan.get("timeout", 60.0)

    async def closed(self) -> None:
        left = iter(range(self.plan["requests"]))
        spread = self.plan.get("spread", 0.0)
        lanes = self.plan["connections"]

        async def lane(number: int) -> None:
            await asyncio.sleep(spread * number / lanes)
            for _ in left:
                await self._one(time.monotonic())

        await asyncio.gather(*(lane(number) for number in range(lanes)))

    async def open(self) -> None:
        for target in itertools.islice(itertools.cycle(self._targets), self.plan["connections"]):
            self._idle[target].append(await Wire.open(target))
        random, due, tasks = Random(_SEED), time.monotonic(), []
        for _ in range(self.plan["requests"]):
            due += random.expovariate(self.plan["rate"])
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tasks.append(asyncio.create_task(self._one(due)))
        await asyncio.gather(*tasks)

    async def hold(self) -> None:
        """Open streams a few at a time, then wait for the end of stdin."""
        begun: set[int] = set()
        wires: list[Wire] = []
        asking: list[asyncio.Task[Answer]] = []
        for number in range(self.plan["connections"]):
            target, request = next(self._requests)
            wires.append(await Wire.open(target))
            take = partial(_note, begun, number)
            asking.append(asyncio.create_task(wires[-1].exchange(request, take)))
            await asyncio.sleep(_PACE_SECONDS)
        await asyncio.sleep(self.plan["settle"])
        ended = sum(task.done() for task in asking)
        print(json.dumps({"open": len(wires) - ended, "begun": len(begun)}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

    async def leave(self) -> dict[str, float]:
        """Return when each request's client left, by the request's number."""
        left: dict[str, float] = {}
        random = Random(_SEED)

        async def one(number: int) -> None:
            target, request = next(self._requests)
            sample = Sample(0.0)
            self.samples.append(sample)
            try:
                wire = await Wire.open(target)
            except OSError:
                sample.code = BROKEN
                return
            asking = asyncio.create_task(wire.exchange(request))
            await asyncio.wait([asking], timeout=random.uniform(*self.plan["after"]))
            sample.code = asking.result().code if asking.done() else _LEFT
            left[str(number)] = time.monotonic()
            wire.close()
            await asking

        tasks = []
        for number in range(self.plan["requests"]):
            tasks.append(asyncio.create_task(one(number)))
            await asyncio.sleep(self.plan["pause"])
        await asyncio.gather(*tasks)
        return left

    async def _one(self, started: float) -> None:
        sample = Sample(started)
        self.samples.append(sample)
        target, request = next(self._requests)
        idle = self._idle[target]
        try:
            wire = idle.pop() if idle else await Wire.open(target)
            while not wire.usable:  # the server closed it while it was idle
                wire = idle.pop() if idle else await Wire.open(target)
        except OSError:
            sample.code, sample.ended = BROKEN, time.monotonic()
            return
        take = sample.take if self._streamed else None
        try:
            answer = await asyncio.wait_for(wire.exchange(request, take), self._timeout)
        except TimeoutError:
            answer = Answer(TIMED_OUT, time.monotonic())
            wire.close()
        sample.code, sample.ended = answer.code, answer.ended
        if wire.usable:
            self._idle[target].append(wire)


def _note(begun: set[int], number: int, data: bytes, now: float) -> None:
    del data, now
    begun.add(number)


def percentiles(values: list[float]) -> dict[str, float] | None:
    """Return p50, p90, p99 and mean in milliseconds."""
    if not values:
        return None
    ordered = sorted(values)
    ranks = {p: ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))] for p in (50, 90, 99)}
    told = {f"p{p}": value * 1e3 for p, value in ranks.items()}
    return {**told, "mean": fmean(ordered) * 1e3}


def figures(samples: list[Sample], seconds: float, cpu: float) -> dict[str, Any]:
    good = [sample for sample in samples if sample.code == 200]
    return {
        "seconds": seconds,
        "codes": dict(Counter(str(sample.code) for sample in samples)),
        "completed": len(good),
        "requests_per_second": len(good) / seconds,
        "latency_ms": percentiles([s.ended - s.started for s in good]),
        "ttft_ms": percentiles([s.first - s.started for s in good if s.first]),
        "itl_ms": percentiles([gap for s in good for gap in s.gaps]),
        "pieces": sum(sample.pieces for sample in samples),
        "client_cpu": cpu / seconds,
    }


async def carry_out(plan: dict[str, Any]) -> None:
    generator = Generator(plan)
    started, cpu = time.monotonic(), time.process_time()
    match plan["kind"]:
        case "closed" | "streams":
            told = await generator.closed()
        case "open":
            told = await generator.open()
        case "leave":
            told = await generator.leave()
        case "hold":
            await generator.hold()
            return
        case other:
            sys.exit(f"no plan is called {other}")
    seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    done = figures(generator.samples, seconds, cpu)
    print(json.dumps({**done, "left": told}), flush=True)


if __name__ == "__main__":
    uvloop.run(carry_out(json.loads(sys.stdin.readline())))
