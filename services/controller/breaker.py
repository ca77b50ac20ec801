"""Whether a server, a worker or an endpoint, is worth a try, by what its last answers were.

Owns the count of its own faults in a row, and the time for which it is left alone, which doubles
with each failed probe. One controller's private opinion; nobody else is told. Every `now` is in
seconds of the monotonic clock.
"""

from __future__ import annotations

from enum import IntEnum

FAULTS = 5
"""So many in a row open it; one may be the request's doing."""


class BreakerState(IntEnum):
    """As the metric shows it."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """Starts closed."""

    def __init__(
        self, *, faults: int = FAULTS, first_seconds: float = 1.0, longest_seconds: float = 30.0
    ) -> None:
        """Open after so many faults in a row, for `first_seconds` at first."""
        self.opened = 0
        self._most_faults = faults
        self._first, self._longest = first_seconds, longest_seconds
        self._faults = 0
        self._cooldown = first_seconds
        self._open_until = 0.0
        self._open = False
        self._probing = False

    def allows(self, now: float) -> bool:
        """Return whether a request may go there: any, or the one that probes."""
        return not self._open or (now >= self._open_until and not self._probing)

    def state(self, now: float) -> BreakerState:
        """Return what it is now."""
        if not self._open:
            return BreakerState.CLOSED
        probing = self._probing or now >= self._open_until
        return BreakerState.HALF_OPEN if probing else BreakerState.OPEN

    def retry_after(self, now: float) -> float:
        """Return the seconds until a request may go there; 0: now."""
        if self._probing:
            return self._first
        return max(0.0, self._open_until - now) if self._open else 0.0

    def enter(self) -> bool:
        """Note that a request goes there; True: it is the probe, and says so when it ends."""
        probe = self._open
        self._probing |= probe
        return probe

    def succeed(self) -> None:
        """Note an answer that is no fault of the worker's."""
        self._faults = 0
        self._open = self._probing = False
        self._cooldown = self._first

    def fail(self, now: float, *, probe: bool = False, certain: bool = False) -> None:
        """Note a fault of the worker's; a `certain` one, such as no connection, opens at once."""
        self._faults += 1
        if self._open and not probe:
            return  # sent before it opened
        if not (probe or certain or self._faults >= self._most_faults):
            return
        if probe:
            self._cooldown = min(2 * self._cooldown, self._longest)
        else:
            self.opened += 1
        self._open, self._probing = True, False
        self._open_until = now + self._cooldown

    def abandon(self, *, probe: bool) -> None:
        """Note that a request ended before it told anything."""
        if probe:
            self._probing = False
