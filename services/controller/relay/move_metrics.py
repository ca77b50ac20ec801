"""What is measured of answers that change their worker. Owns names, labels and buckets."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from services.controller.relay.loss import Cause

REASONS = ("attempts", "age", "length", "budget", "no_worker", "deadline")
STALL_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class MoveMetrics:
    """Of one controller."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them, with all their labels."""
        self.moved = Counter(
            "llmzoo_migrations_total",
            "Answers that went on at another worker; inexact: at one of another fingerprint",
            ["cause", "exactness"],
            registry=registry,
        )
        self.failed = Counter(
            "llmzoo_migrations_failed_total",
            "Answers that lost their worker and could not go on",
            ["cause", "reason"],
            registry=registry,
        )
        self.reattached = Counter(
            "llmzoo_reattachments_total",
            "Answers that went on at their own worker: over a new connection, or from another "
            "controller",
            ["by"],
            registry=registry,
        )
        self.stall = Histogram(
            "llmzoo_migration_stall_seconds",
            "From the last byte of the worker that was lost to the next token",
            buckets=STALL_BUCKETS,
            registry=registry,
        )
        for cause in Cause:
            for exactness in ("exact", "inexact"):
                self.moved.labels(cause, exactness)
            for reason in REASONS:
                self.failed.labels(cause, reason)
        for by in ("connection", "client"):
            self.reattached.labels(by)
