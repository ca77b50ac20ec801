"""Answering one request of a route that generates: it is counted while it lasts, and so is a fault.

Owns what such routes do alike. What they answer is theirs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.types import Send

from services.worker.metrics import WorkerMetrics
from shared.errors import LLMZooError
from shared.http.body import ClientGone
from shared.http.faults import send_error


@asynccontextmanager
async def answering(metrics: WorkerMetrics, send: Send) -> AsyncGenerator[None]:
    """Answer within this; an LLMZooError, raised before anything was sent, becomes the answer."""
    with metrics.inflight.track_inprogress():
        try:
            yield
        except ClientGone:
            return
        except LLMZooError as fault:
            metrics.count_error(fault)
            await send_error(send, fault)
