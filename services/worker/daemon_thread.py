"""One blocking call in a thread that does not keep the process alive.

asyncio's own threads are waited for at exit, and loading a model may take minutes.

The thread ends with its call, and OpenMP's threads that worked for it end too. Were they there
still, the engine's thread would get more of them than there are cores; OpenMP then puts each to
sleep where it waits, and a step takes three times as long.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_daemon_thread(call: Callable[[], T], name: str = "loading") -> T:
    """Return what `call` returns, or raise what it raises; cancelling leaves the thread alone."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def hand_over(settle: Callable[[], None]) -> None:
        if not future.done():
            settle()

    def run() -> None:
        try:
            result = call()
        except BaseException as fault:  # noqa: BLE001 - raised again where it is awaited
            raised = fault
            outcome: Callable[[], None] = lambda: future.set_exception(raised)  # noqa: E731
        else:
            outcome = lambda: future.set_result(result)  # noqa: E731
        if not loop.is_closed():
            loop.call_soon_threadsafe(hand_over, outcome)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future
