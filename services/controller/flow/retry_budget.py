"""How many tries beyond the first the fleet is asked for: a part of the requests, and a few more.

Owns the budget, so that a dying fleet is not finished off by its own retries.
"""

from __future__ import annotations

SHARE = 0.1
"""Retries for a request, on average."""

RESERVE = 100.0
"""Retries that are allowed at once: what one worker had at hand when it died."""


class RetryBudget:
    """Starts full."""

    def __init__(self, reserve: float = RESERVE) -> None:
        """Have the reserve."""
        self._reserve = self._left = reserve

    def earn(self) -> None:
        """Count a request."""
        self._left = min(self._reserve, self._left + SHARE)

    def spend(self) -> bool:
        """Return whether one more retry is allowed, and count it."""
        if self._left < 1:
            return False
        self._left -= 1
        return True
