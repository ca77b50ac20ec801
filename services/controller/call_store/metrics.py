"""What the call store measures. Owns names and labels; each label value is known at the start."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

OUTCOMES = ("stored", "unstored", "joined", "replayed", "failed")
UNSTORED_REASONS = ("redis", "blob", "too_large", "lost")


class CallStoreMetrics:
    """All metrics of one controller's call store."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them."""
        self.calls = Counter(
            "llmzoo_call_store_calls_total",
            "Requests with an Idempotency-Key, by what became of them",
            ["outcome"],
            registry=registry,
        )
        self.unstored = Counter(
            "llmzoo_call_store_unstored_total",
            "Good answers that could not be stored",
            ["reason"],
            registry=registry,
        )
        self.lost_leases = Counter(
            "llmzoo_call_store_lost_leases_total",
            "Calls that another controller took over while they ran here",
            registry=registry,
        )
        self.lost_answers = Counter(
            "llmzoo_call_store_lost_answers_total",
            "Stored answers that could not be read, such as those whose blob is gone",
            registry=registry,
        )
        self._evictions = Counter(
            "llmzoo_call_store_evictions_total",
            "Stored calls that gave way to newer ones",
            registry=registry,
        )
        self._bytes = Gauge(
            "llmzoo_call_store_bytes",
            "Bytes of all stored calls at the last one stored here",
            ["kind"],
            registry=registry,
        )
        self._running = Gauge("llmzoo_call_store_running", "Calls under way", registry=registry)
        for outcome in OUTCOMES:
            self.calls.labels(outcome)
        for reason in UNSTORED_REASONS:
            self.unstored.labels(reason)
        for kind in ("records", "blobs"):
            self._bytes.labels(kind)

    def observe_running(self, count: Callable[[], int]) -> None:
        """Let the gauge ask when it is scraped."""
        self._running.set_function(count)

    def kept(self, record_bytes: int, blob_bytes: int, gave_way: int) -> None:
        """Take the totals that Redis told."""
        self._bytes.labels("records").set(record_bytes)
        self._bytes.labels("blobs").set(blob_bytes)
        self._evictions.inc(gave_way)
