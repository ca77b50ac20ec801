"""Loads: when requests start. A closed loop of streams, or arrivals at a mean rate.

Owns arrival times. What a request is, `Ask` says: it fills in the sample it is given.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass
from random import Random
from typing import Protocol

from services.cli.bench.sample import Sample

Ask = Callable[[Sample], Awaitable[None]]


class Load(Protocol):
    """When requests start."""

    @property
    def name(self) -> str:
        """What the load is called in a table."""
        ...

    async def run(self, ask: Ask, samples: list[Sample]) -> None:
        """Start every request and wait for the last; each has its sample from its start on."""
        ...


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """`streams` requests at once, and `requests` times as many in all.

    Each stream sends the next of them when its last one has ended, so that all are busy to the
    end, however different the answers' lengths or the server's haste.
    """

    streams: int
    requests: int

    @property
    def name(self) -> str:
        """The number of streams."""
        return str(self.streams)

    async def run(self, ask: Ask, samples: list[Sample]) -> None:
        """Send them all."""
        left = iter(range(self.streams * self.requests))
        async with asyncio.TaskGroup() as group:
            for _ in range(self.streams):
                group.create_task(_stream(left, ask, samples))


@dataclass(frozen=True, slots=True)
class PoissonArrivals:
    """`requests` in all, at `rate` a second on average, however many still run."""

    rate: float
    requests: int
    seed: int

    @property
    def name(self) -> str:
        """The rate."""
        return f"{self.rate:g}/s"

    async def run(self, ask: Ask, samples: list[Sample]) -> None:
        """Start each request at its time, or at once if that has passed."""
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for arrival in self.times():
                await asyncio.sleep(max(0.0, started + arrival - time.perf_counter()))
                group.create_task(_one(ask, samples))

    def times(self) -> Generator[float]:
        """Yield the arrival times in seconds after the start, the same for the same seed."""
        random = Random(self.seed)  # noqa: S311 - arrivals are no secret
        arrival = 0.0
        for _ in range(self.requests):
            arrival += random.expovariate(self.rate)
            yield arrival


async def _stream(left: Iterator[int], ask: Ask, samples: list[Sample]) -> None:
    for _ in left:
        await _one(ask, samples)


async def _one(ask: Ask, samples: list[Sample]) -> None:
    sample = Sample(time.perf_counter())
    samples.append(sample)
    await ask(sample)
