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
        await end_all({task})


async def end_all(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait for their end."""
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        # Again, if need be: redis-py sends under asyncio.wait_for, which loses a cancellation
        # that comes together with its result (Python 3.11).
        _, running = await asyncio.wait(running, timeout=_CANCEL_SECONDS)
