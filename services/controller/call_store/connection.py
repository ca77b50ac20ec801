"""The call store's way to Redis, which may be slow, frozen or gone.

Owns the time that one command gets, how many are under way at once, and the pause after a
failure in which nothing is asked, so that a frozen Redis costs one request half a second and not
each of them. Waiting for a place of our own is not Redis's fault and is not timed. Knows no
script.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, cast

import redis.exceptions as failures

from shared.registry.view import connect
from shared.settings import FleetSettings

SECONDS = 0.5
PAUSE = 1.0
_AT_ONCE = 32
_MARGIN = 0.01


class StoreAway(Exception):
    """Redis cannot be asked now, or refuses; nothing is known of the call."""


class CallRedis:
    """Runs scripts on Redis."""

    def __init__(self, settings: FleetSettings) -> None:
        """Prepare; nothing is connected before the first call."""
        self._client = cast("Any", connect(settings, SECONDS))
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._asked_again_at = 0.0

    async def run(
        self, script: str, names: Sequence[str], values: Sequence[str | bytes | int]
    ) -> Any:
        """Return a script's answer; not asked while Redis was found away a moment ago.

        Raises:
            StoreAway: no answer in time, or a refusal.
        """
        async with self._places:
            if time.monotonic() < self._asked_again_at:
                msg = "Redis did not answer a moment ago"
                raise StoreAway(msg)
            return await self._ask(script, names, values)

    async def insist(
        self, script: str, names: Sequence[str], values: Sequence[str | bytes | int]
    ) -> Any:
        """Do the same, and once more after the pause if Redis is away: an answer is at stake.

        Raises:
            StoreAway: no answer in time, or a refusal.
        """
        try:
            return await self.run(script, names, values)
        except StoreAway:
            pause = self._asked_again_at - time.monotonic()
            if pause <= 0:
                raise
            await asyncio.sleep(pause + _MARGIN)
        return await self.run(script, names, values)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _ask(
        self, script: str, names: Sequence[str], values: Sequence[str | bytes | int]
    ) -> Any:
        try:
            async with asyncio.timeout(SECONDS):
                return await self._client.eval(script, len(names), *names, *values)
        except (failures.ConnectionError, failures.TimeoutError, OSError, TimeoutError) as fault:
            # What was sent before the pause began and fails in it tells nothing new.
            if time.monotonic() >= self._asked_again_at:
                self._asked_again_at = time.monotonic() + PAUSE
            raise StoreAway(type(fault).__name__) from fault
        except failures.RedisError as fault:
            # It answers, and refuses: full, read-only, not permitted.
            raise StoreAway(str(fault)) from fault
