"""How fast a run gets on, seen over the last half minute. Knows no clock but the one it is given."""

from __future__ import annotations

from collections import deque

_WINDOW_SECONDS = 30.0


class Pace:
    """Units a second: answers and reviews."""

    def __init__(self) -> None:
        """Start without an idea."""
        self._seen: deque[tuple[float, int]] = deque()

    def see(self, now: float, units: int) -> float | None:
        """Return the pace after a look at `now`, in seconds; None before there is one."""
        if self._seen and units < self._seen[-1][1]:
            self._seen.clear()  # resumed: what failed is asked for again
        self._seen.append((now, units))
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW_SECONDS:  # noqa: PLR2004
            self._seen.popleft()
        since, before = self._seen[0]
        if now <= since or units == before:
            return None
        return (units - before) / (now - since)
