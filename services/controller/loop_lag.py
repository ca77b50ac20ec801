"""How late the event loop is: what every request waits for before anybody looks at it.

Owns the measurement, a timer that notes by how much it was woken too late.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator

from prometheus_client import CollectorRegistry, Gauge, Histogram

INTERVAL_SECONDS = 0.25
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class LoopLag:
    """Measures the loop it runs on."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metric."""
        self._lag = Histogram(
            "llmzoo_event_loop_lag_seconds",
            "How much later than it was due a timer of the event loop ran",
            buckets=BUCKETS,
            registry=registry,
        )
        tasks = Gauge("llmzoo_event_loop_tasks", "Tasks that have not ended", registry=registry)
        # Scraped on the loop itself; before it runs there are none.
        tasks.set_function(_tasks)

    @contextlib.asynccontextmanager
    async def measured(self) -> AsyncGenerator[None]:
        """Measure for the time of the context."""
        measuring = asyncio.create_task(self._measure(), name="loop-lag")
        try:
            yield
        finally:
            measuring.cancel()

    async def _measure(self) -> None:
        while True:
            due = time.monotonic() + INTERVAL_SECONDS
            await asyncio.sleep(INTERVAL_SECONDS)
            self._lag.observe(max(0.0, time.monotonic() - due))


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return 0
