"""What is measured of the fleet: read off the roster when it is scraped, so nothing goes stale.

Owns names and labels; workers are those that the roster knows, and no others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.controller.fleet.member import Member
from services.controller.fleet.roster import Roster
from shared.protocol.workers import State


class FleetCollector(Collector):
    """Tells of the workers of one roster."""

    def __init__(self, roster: Roster, registry: CollectorRegistry) -> None:
        """Register with `registry`."""
        self._roster = roster
        registry.register(self)

    def describe(self) -> Iterator[Metric]:
        """Name the metrics without asking the roster."""
        yield from self._families([])

    def collect(self) -> Iterator[Metric]:
        """Yield them as they are now."""
        members = self._roster.members()
        yield from self._families([each for each in members if each.record.kind == "worker"])

    def _families(self, workers: list[Member]) -> Iterator[Metric]:
        now = time.monotonic()
        states = GaugeMetricFamily("llmzoo_workers", "Workers by state", labels=["state"])
        for state in State:
            states.add_metric([state], sum(worker.state is state for worker in workers))
        yield states
        yield GaugeMetricFamily(
            "llmzoo_registry_staleness_seconds",
            "Seconds since the last snapshot of the registry",
            value=self._roster.staleness(now),
        )
        inflight = GaugeMetricFamily(
            "llmzoo_worker_inflight", "Sequences that this controller has there", labels=["worker"]
        )
        breaker = GaugeMetricFamily(
            "llmzoo_worker_breaker_state", "0 closed, 1 half open, 2 open", labels=["worker"]
        )
        opened = CounterMetricFamily(
            "llmzoo_worker_breaker_opened", "Times that it was left alone", labels=["worker"]
        )
        queries = CounterMetricFamily(
            "llmzoo_router_prefix_queries",
            "Prompt tokens sent there by prefix, where there was a choice",
            labels=["worker"],
        )
        hits = CounterMetricFamily(
            "llmzoo_router_prefix_hits",
            "Those of them that it was taken to hold already",
            labels=["worker"],
        )
        for worker in workers:
            inflight.add_metric([worker.id], worker.inflight)
            breaker.add_metric([worker.id], worker.breaker.state(now))
            opened.add_metric([worker.id], worker.breaker.opened)
            queries.add_metric([worker.id], worker.prefix_queries)
            hits.add_metric([worker.id], worker.prefix_hits)
        yield from (inflight, breaker, opened, queries, hits)
