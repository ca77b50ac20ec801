"""A token bucket: so much a minute, at most one minute's worth at once.

Pure: the time is given, in seconds of any clock that does not go back. The buckets that all
controllers share do the same sums in Redis.
"""

from __future__ import annotations

MINUTE = 60.0


class Bucket:
    """What one holder may use."""

    def __init__(self, limit: float, level: float, now: float) -> None:
        """Start with `level` of `limit`, which is what a minute brings and the most it holds."""
        self._limit = limit
        self._level = min(limit, level)
        self._at = now

    def level(self, now: float) -> float:
        """Return what is there at `now`; below zero what was used beyond it."""
        refill = max(0.0, now - self._at) * self._limit / MINUTE
        return min(self._limit, self._level + refill)

    def put(self, amount: float, now: float) -> None:
        """Add what was not used; a negative amount is owed."""
        self._level = min(self._limit, self.level(now) + amount)
        self._at = now

    def seconds_until(self, amount: float, now: float) -> float:
        """Return when `amount` will be there, if nobody takes any; `amount` is within the limit."""
        return max(0.0, amount - self.level(now)) * MINUTE / self._limit
