"""How many answers of this controller may go on elsewhere in a while, over all workers.

Owns the count, so that a dying fleet is not finished off by what its workers left: each answer
that moves is a prompt more for those that are left.
"""

from __future__ import annotations

from collections import deque

SECONDS = 30.0
RESERVE = 64
PER_RUNNING = 2
"""Every answer under way may have lost its worker, and the one after it, within that time."""


class MoveBudget:
    """Counts moves; every `now` is in seconds of the monotonic clock."""

    def __init__(self) -> None:
        """Start with none."""
        self._times: deque[float] = deque()

    def spend(self, running: int, now: float) -> bool:
        """Return whether one more is allowed while so many answers run, and count it."""
        while self._times and self._times[0] <= now - SECONDS:
            self._times.popleft()
        if len(self._times) >= RESERVE + PER_RUNNING * running:
            return False
        self._times.append(now)
        return True
