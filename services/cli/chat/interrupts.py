"""Ctrl-C while a coroutine runs: it ends that coroutine and nothing else.

Owns SIGINT for as long as the context is open.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Interrupted(Exception):
    """Ctrl-C was pressed. Unlike KeyboardInterrupt, a task can raise it without ending the loop."""


class Interruptible:
    """Runs coroutines one after another; Ctrl-C ends the running one."""

    def __init__(self) -> None:
        """Prepare; signals are as before until the context is entered."""
        self._running: asyncio.Task[Any] | None = None
        self._interrupted = False
        self._before: Any = None

    def __enter__(self) -> Self:
        """Take SIGINT over."""
        self._before = signal.getsignal(signal.SIGINT)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        """Give SIGINT back."""
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, self._before)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns.

        Raises:
            Interrupted: Ctrl-C ended it.
        """
        self._interrupted = False
        self._running = asyncio.create_task(work)
        try:
            return await self._running
        except asyncio.CancelledError:
            if not self._interrupted:
                raise
            raise Interrupted from None
        finally:
            self._running = None

    def _interrupt(self) -> None:
        # The loop calls this while something is awaited, so between two runs never. Once is
        # enough: a second cancellation breaks off the closing of the connection.
        if self._running is not None and not self._running.cancelling():
            self._interrupted = self._running.cancel()
