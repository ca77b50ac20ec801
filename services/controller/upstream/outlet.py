"""Whether a socket takes more bytes now.

Owns the wait of one writer while the transport's buffer is full. Knows no bytes.
"""

from __future__ import annotations

import asyncio


class Outlet:
    """Stopped and opened by the transport; one writer waits for it."""

    def __init__(self) -> None:
        """Start open."""
        self.choked = False
        self._waiter: asyncio.Future[None] | None = None

    async def change(self) -> None:
        """Return at the next `wake`."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """Let the writer look again: at `choked`, or at whether there is anybody to write to."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
