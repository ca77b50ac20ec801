"""Telling workers that nobody waits for a request any more.

Owns the small calls that do so, and waits for them when the service stops. Best effort: a worker
that cannot be told is dead, or ends the request by itself.
"""

from __future__ import annotations

import asyncio
import math
import time

import structlog

from services.controller.upstream.internal_call import internal_post
from services.controller.upstream.pool import Origin, UpstreamPool
from shared.errors import LLMZooError
from shared.protocol.attach import KEY_HEADER

log = structlog.get_logger(__name__)


class Aborts:
    """Sends aborts in the background."""

    def __init__(self, pool: UpstreamPool, headers: dict[str, str]) -> None:
        """Send over `pool`, each with `headers`."""
        self._pool = pool
        self._headers = headers
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaves_at = math.inf

    def send(self, origin: Origin, request_id: str, key: str) -> None:
        """Abort a request of an API key's on the worker at `origin`; returns at once.

        Clients choose ids, and of another key the same one may run there for another controller.
        """
        if time.monotonic() >= self._leaves_at:
            return
        task = asyncio.create_task(self._send(origin, request_id, key))
        # The loop holds tasks weakly only.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def leave(self, seconds: float) -> None:
        """Send none any more after so many seconds.

        What this controller leaves unfinished then, another one may take over.
        """
        self._leaves_at = time.monotonic() + seconds

    async def close(self) -> None:
        """Wait for the aborts under way; each is bounded in time."""
        await asyncio.gather(*self._tasks)

    async def _send(self, origin: Origin, request_id: str, key: str) -> None:
        path = f"/internal/requests/{request_id}/abort"
        headers = {**self._headers, KEY_HEADER: key} if key else self._headers
        try:
            await internal_post(self._pool, origin, path, headers)
        except LLMZooError as fault:
            log.info("abort not delivered", request_id=request_id, fault=str(fault))
