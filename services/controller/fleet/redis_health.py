"""How the Redis is that the fleet's registry lies in: whether it answers, and its memory.

Owns names and labels, and how often Redis is asked for the latter. Of what is not known there is
no series.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.controller.background import kept_running
from services.controller.fleet.roster import Roster
from shared.registry import RedisMemory, RegistryView

INTERVAL_SECONDS = 5.0


class RedisHealth(Collector):
    """Looks now and then while it runs, and tells at each scrape what it saw last."""

    def __init__(
        self,
        view: RegistryView,
        roster: Roster,
        registry: CollectorRegistry,
        interval: float = INTERVAL_SECONDS,
    ) -> None:
        """Register with `registry`; whether Redis answers, the roster knows already."""
        self._view = view
        self._roster = roster
        self._interval = interval
        self._memory: RedisMemory | None = None
        registry.register(self)

    def watched(self) -> AbstractAsyncContextManager[object]:
        """Look for the time of the context."""
        return kept_running(self._look(), "redis-health")

    def describe(self) -> Iterator[Metric]:
        """Name the metrics."""
        yield from self.collect()

    def collect(self) -> Iterator[Metric]:
        """Yield them."""
        reachable = self._roster.registry_reachable
        yield GaugeMetricFamily(
            "llmzoo_redis_up", "1 while Redis answers this controller", value=reachable
        )
        memory = GaugeMetricFamily(
            "llmzoo_redis_memory_bytes",
            "Bytes that Redis uses, and the most that it may; 0: without bound",
            labels=["kind"],
        )
        if reachable and self._memory is not None:
            memory.add_metric(["used"], self._memory.used)
            memory.add_metric(["max"], self._memory.most)
        yield memory

    async def _look(self) -> None:
        while True:
            self._memory = await self._view.memory()
            await asyncio.sleep(self._interval)
