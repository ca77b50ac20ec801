"""Putting an endpoint aside that fails again and again.

Owns the count of failures in a row, the cool-down, which doubles, and the one probe after it.
Pure: every `now` is in seconds of the monotonic clock.
"""

from __future__ import annotations


class Breaker:
    """Closed, open for a time, or half open: with one probe under way."""

    def __init__(
        self, *, failures: int = 5, cooldown: float = 2.0, longest_cooldown: float = 60.0
    ) -> None:
        """Open after `failures` in a row, for `cooldown` seconds at first."""
        self._failures = failures
        self._first_cooldown = self._cooldown = cooldown
        self._longest = longest_cooldown
        self._in_a_row = 0
        self._open_until: float | None = None
        self._probing = False

    def wait(self, now: float) -> float:
        """Return the seconds until a call may go there; 0 says now."""
        if self._open_until is None:
            return 0.0
        if self._probing:
            return self._first_cooldown
        return max(0.0, self._open_until - now)

    def enter(self) -> bool:
        """Note that a call goes there, after `wait` said 0; return whether it is the probe."""
        self._probing = self._open_until is not None
        return self._probing

    def succeeded(self) -> None:
        """Close: an answer came."""
        self._in_a_row = 0
        self._cooldown = self._first_cooldown
        self._open_until = None
        self._probing = False

    def failed(self, now: float, *, probe: bool) -> None:
        """Count a fault of the endpoint's; a probe's doubles the cool-down."""
        self._in_a_row += 1
        if probe:
            self._probing = False
            self._cooldown = min(self._longest, 2 * self._cooldown)
            self._open_until = now + self._cooldown
        elif self._open_until is None and self._in_a_row >= self._failures:
            self._open_until = now + self._cooldown

    def left(self, *, probe: bool) -> None:
        """Note a call that told nothing of the endpoint; after a probe, the next one may probe."""
        if probe:
            self._probing = False
