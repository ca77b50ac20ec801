"""Work that goes on beside the requests for as long as a context lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

_CANCEL_SECONDS = 0.2


@asynccontextmanager
async def kept_running(
    work: Coroutine[Any, Any, None], name: str
) -> AsyncGenerator[asyncio.Task[None]]:
    """Run `work` as a task for the time of the context, which gives the task."""
    task = asyncio.create_task(work, name=name)
    try:
        yield task
    finally:
        while not task.done():
            # Again, if need be: redis-py can lose a cancellation that comes with its result.
            task.cancel()
            await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
