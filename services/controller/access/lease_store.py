"""The buckets that all controllers share, in Redis, on Redis's own clock.

Owns one atomic step: refill, take back, hand out. What a slice is for is the lease's affair.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Literal

from redis.exceptions import RedisError

from shared.registry import keys
from shared.registry.view import connect
from shared.settings import FleetSettings

Kind = Literal["requests", "tokens"]

_SOCKET_SECONDS = 0.2
_DEADLINE_SECONDS = 0.25
BLIND_SECONDS = 0.5
"""How long Redis is left alone after a failure."""

# Twice the time in which the deepest debt is paid and the bucket full.
_KEPT_MILLISECONDS = 240_000

# KEYS: the bucket. ARGV: its limit; what is needed at least and what at best; what comes back
# (negative: was used beyond what was handed out); the level where Redis has forgotten it;
# milliseconds to keep it. Returns what is handed out, a whole number, and what is left.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local limit = tonumber(ARGV[1])
local kept = redis.call('HMGET', KEYS[1], 'level', 'at')
local level, at = tonumber(kept[1] or ARGV[5]), tonumber(kept[2] or now)
level = math.min(limit, level + math.max(0, now - at) * limit / 60)
level = math.max(-limit, math.min(limit, level + tonumber(ARGV[4])))
local granted = 0
if level >= tonumber(ARGV[2]) then
  granted = math.max(0, math.floor(math.min(level, tonumber(ARGV[3]))))
end
level = string.format('%.6f', level - granted)
redis.call('HSET', KEYS[1], 'level', level, 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return {granted, level}
"""


class LeasesUnreachable(Exception):
    """Redis cannot be asked now; each controller goes by its own share."""


@dataclass(frozen=True, slots=True)
class Slice:
    """What was handed out of a bucket, and what is left in it."""

    granted: int
    level: float


class LeaseStore:
    """Hands out slices of the shared buckets."""

    def __init__(self, settings: FleetSettings) -> None:
        """Prepare; nothing is connected before the first call."""
        # redis-py's own types are unions of its two worlds.
        self._redis: Any = connect(settings, _SOCKET_SECONDS)
        self._blind_until = 0.0

    @property
    def blind(self) -> bool:
        """Return whether Redis did not answer a moment ago."""
        return time.monotonic() < self._blind_until

    async def exchange(
        self,
        bucket: tuple[str, Kind],
        limit: int,
        *,
        need: int,
        want: int,
        returned: int,
        assumed: float,
    ) -> Slice:
        """Give back `returned`, then take `want`, or what there is of it, at least `need`.

        Args:
            bucket: a key's id and what is counted.
            limit: what a minute brings, and the most that the bucket holds.
            need: with less than this, nothing is handed out.
            want: the most to hand out.
            returned: what is given back; negative: what was used and is still to be counted.
            assumed: the level to go on from if Redis has lost it.

        Raises:
            LeasesUnreachable: no answer; what it did is not known.
        """
        if self.blind:
            raise LeasesUnreachable
        arguments = (limit, need, want, returned, f"{assumed:.6f}", _KEPT_MILLISECONDS)
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                granted, level = await self._redis.eval(
                    _TAKE, 1, keys.rate_limit(*bucket), *arguments
                )
        except (RedisError, OSError, TimeoutError) as fault:
            self._blind_until = time.monotonic() + BLIND_SECONDS
            raise LeasesUnreachable from fault
        return Slice(int(granted), float(level))

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
