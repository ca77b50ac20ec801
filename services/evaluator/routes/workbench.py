"""Figures and reports, made one at a time beside the event loop, each once for all who wait.

Owns the thread, the bound on what waits for it, and a few of the finished ones. Knows not what is
made.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from shared.errors import Overloaded

MAX_WAITING = 8
_KEPT = 8
_KEPT_BYTES = 8 * 1024 * 1024
_RETRY_AFTER = 5.0

Made = TypeVar("Made")


class Workbench:
    """Makes things in one thread."""

    def __init__(self, most: int = MAX_WAITING, kept: int = _KEPT) -> None:
        """Let at most `most` things be made or wait, and keep the last `kept`."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="figures")
        self._most, self._kept = most, kept
        self._made: OrderedDict[Hashable, Any] = OrderedDict()
        self._making: dict[Hashable, asyncio.Task[Any]] = {}

    async def get(self, key: Hashable, work: Callable[[], Awaitable[Made]]) -> Made:
        """Return what `work` returns for `key`, done once at a time and kept a while.

        Raises:
            Overloaded: too many other things are being made. Whatever `work` raises.
        """
        if key in self._made:
            self._made.move_to_end(key)
            return self._made[key]

        async def made() -> Made:
            found = await work()
            self._keep(key, found)
            return found

        return await self.join(key, made)

    async def run(self, make: Callable[[], Made]) -> Made:
        """Return what `make` returns, made in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, make)

    async def join(self, key: Hashable, work: Callable[[], Awaitable[Made]]) -> Made:
        """Return what `work` returns; who asks for the same meanwhile waits for the same.

        Whoever waits and leaves stops nothing for the others. Raises as `get`.
        """
        task = self._making.get(key)
        if task is None:
            if len(self._making) >= self._most:
                msg = f"{len(self._making)} reports are being made already; try again later."
                raise Overloaded(msg, retry_after=_RETRY_AFTER)
            task = asyncio.ensure_future(work())
            self._making[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End: nothing new begins, what is being made is left to its thread."""
        for task in list(self._making.values()):
            task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _keep(self, key: Hashable, found: Any) -> None:
        if isinstance(found, bytes) and len(found) > _KEPT_BYTES:
            return
        self._made[key] = found
        while len(self._made) > self._kept:
            self._made.popitem(last=False)

    def _forget(self, key: Hashable, done: asyncio.Task[Any]) -> None:
        del self._making[key]
        if not done.cancelled():
            done.exception()  # whoever waited has it; nobody may have
