"""Waiting for what happens elsewhere: in another process, another thread, behind a socket.

No event tells of it, so it can only be asked for again and again. What a fake hears of by itself
(a request, a line of output) it waits for with a condition or a queue of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_STEP_SECONDS = 0.02


async def eventually(holds: Callable[[], bool | Awaitable[bool]], seconds: float = 10.0) -> None:
    """Wait until `holds` says so, while the test's event loop goes on."""
    async with asyncio.timeout(seconds):
        while True:
            said = holds()
            if await said if isinstance(said, Awaitable) else said:
                return
            await asyncio.sleep(_STEP_SECONDS)


def block_until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until `holds` says so, in a test without an event loop."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"did not come to hold within {seconds} s")
        time.sleep(_STEP_SECONDS)
