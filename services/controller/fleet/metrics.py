"""What is measured of the fleet: read off the roster when it is scraped, so nothing goes stale.

Owns names and labels; workers are those that the roster knows, and no others, models the first of
those that workers announced.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.controller.fleet.member import Member
from services.controller.fleet.roster import Roster
from shared.metrics import MOST_MODELS, OTHER
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
        yield self._states(workers)
        yield GaugeMetricFamily(
            "llmzoo_registry_staleness_seconds",
            "Seconds since the last snapshot of the registry",
            value=self._roster.staleness(now),
        )
        for kind, name, text, number in _OF_WORKERS:
            family = kind(name, text, labels=["worker"])
            for worker in workers:
                family.add_metric([worker.id], number(worker, now))
            yield family

    def _states(self, workers: list[Member]) -> Metric:
        """Return how many workers are in each state, by each model that was known lately."""
        family = GaugeMetricFamily(
            "llmzoo_workers",
            "Workers by state and model; without a name: no worker was there lately",
            labels=["state", "model"],
        )
        announced = self._roster.known_models()
        known = dict.fromkeys(announced[:MOST_MODELS])
        counts = Counter(
            (worker.state, info.id if info.id in known else OTHER)
            for worker in workers
            for info in worker.record.models
        )
        beyond = [OTHER] if len(announced) > MOST_MODELS else []
        for model in [*known, *beyond] or [""]:
            for state in State:
                family.add_metric([state, model], counts[state, model])
        return family


_OF_WORKERS: tuple[
    tuple[
        type[GaugeMetricFamily | CounterMetricFamily], str, str, Callable[[Member, float], float]
    ],
    ...,
] = (
    (
        GaugeMetricFamily,
        "llmzoo_worker_heartbeat_age_seconds",
        "Seconds since the last beat that this controller has seen",
        lambda worker, now: now - worker.fresh_at,
    ),
    (
        GaugeMetricFamily,
        "llmzoo_worker_inflight",
        "Sequences that this controller has there",
        lambda worker, _: worker.inflight,
    ),
    (
        GaugeMetricFamily,
        "llmzoo_worker_breaker_state",
        "0 closed, 1 half open, 2 open",
        lambda worker, now: worker.breaker.state(now),
    ),
    (
        CounterMetricFamily,
        "llmzoo_worker_breaker_opened",
        "Times that it was left alone",
        lambda worker, _: worker.breaker.opened,
    ),
    (
        CounterMetricFamily,
        "llmzoo_router_prefix_queries",
        "Prompt tokens sent there by prefix, where there was a choice",
        lambda worker, _: worker.prefix_queries,
    ),
    (
        CounterMetricFamily,
        "llmzoo_router_prefix_hits",
        "Those of them that it was taken to hold already",
        lambda worker, _: worker.prefix_hits,
    ),
)
