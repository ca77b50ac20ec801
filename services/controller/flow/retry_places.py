"""When a refused client should come back: an honest Retry-After.

Owns the rate at which places come free, measured, and the places in time that were given out, so
that clients who obey do not all come at once. Every `now` is in seconds of the monotonic clock.
"""

from __future__ import annotations

FIRST_SECONDS = 1.0
"""Told while nothing has been measured."""

LONGEST_SECONDS = 120.0

_HALF_LIFE_SECONDS = 10.0


class RetryPlaces:
    """Of the workers of one model."""

    def __init__(self) -> None:
        """Start with nothing measured."""
        self._freed = 0.0
        self._seconds = 0.0
        self._counted_at: float | None = None
        self._given_until = 0.0

    def freed(self, places: int, now: float) -> None:
        """Count places that came free; to be called while requests wait, so the rate is the most."""
        if self._counted_at is not None:
            passed = min(now - self._counted_at, _HALF_LIFE_SECONDS)
            kept = 0.5 ** (passed / _HALF_LIFE_SECONDS)
            self._freed = self._freed * kept + places
            self._seconds = self._seconds * kept + passed
        self._counted_at = now

    def idle(self) -> None:
        """Note that nobody waits: what comes free now tells nothing of the most that could."""
        self._counted_at = None

    @property
    def rate(self) -> float:
        """Places that come free in a second; 0: unknown."""
        return self._freed / self._seconds if self._seconds > 0 else 0.0

    def wait(self, waiting: int) -> float:
        """Return the seconds until a request behind `waiting` others has its place; 0: unknown."""
        return (waiting + 1) / self.rate if self.rate else 0.0

    def give(self, waiting: int, now: float) -> float:
        """Return the seconds after which one more refused client should come back."""
        if not self.rate:
            return FIRST_SECONDS
        soonest = now + self.wait(waiting)
        place = max(soonest, self._given_until + 1 / self.rate)
        self._given_until = min(place, now + LONGEST_SECONDS)
        return max(FIRST_SECONDS, self._given_until - now)
