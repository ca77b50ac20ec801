"""What is measured of waiting for a place. Owns names, labels and buckets."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.hot_metrics import Count, HotCounter
from shared.metrics import TTFT_BUCKETS
from shared.protocol.priority import Priority

REJECTIONS = ("queue_full", "queue_timeout", "queue_too_long")


class FlowMetrics:
    """Of one controller."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them, with all their labels."""
        self._depth = Gauge(
            "llmzoo_queue_depth", "Requests that wait for a place", ["priority"], registry=registry
        )
        self.wait = Histogram(
            "llmzoo_queue_wait_seconds",
            "Time in the queue of requests that had to wait",
            buckets=TTFT_BUCKETS,
            registry=registry,
        )
        self.rejections = Counter(
            "llmzoo_rejections_total",
            "Requests refused because too many wait",
            ["reason"],
            registry=registry,
        )
        for reason in REJECTIONS:
            self.rejections.labels(reason)
        self._selections = HotCounter(
            "llmzoo_worker_selections_total",
            "Workers chosen, by the policy that chose; none where only one had room",
            ["policy"],
            registry,
        )

    def selections(self, policy: str) -> Count:
        """Return the count of one policy's choices."""
        return self._selections.labels(policy)

    def observe_queues(self, waiting: Callable[[Priority], int]) -> None:
        """Let the gauge ask when it is scraped."""
        for priority in Priority:
            depth = self._depth.labels(priority.name.lower())
            # The default argument binds this turn's class.
            depth.set_function(lambda priority=priority: waiting(priority))
