"""How many calls an endpoint takes at once, found out by trying.

Owns the adaptive limit: additive increase while latency is fine, multiplicative decrease when
the endpoint is congested (AIMD; Chiu and Jain 1989, with TCP's slow start and its one decrease a
round trip). Pure: counts no calls and waits for nothing.
"""

from __future__ import annotations

_FIRST = 4
_PATIENCE = 2.0
_SLACK_SECONDS = 0.05


class AdaptiveLimit:
    """A limit between 1 and `most`."""

    def __init__(self, most: int) -> None:
        """Start low, and double a round trip until the first congestion."""
        self._most = float(most)
        self._limit = min(self._most, float(_FIRST))
        self._slow_start = True
        self._decreased_at = float("-inf")

    @property
    def places(self) -> int:
        """Return how many calls may be under way."""
        return int(self._limit)

    def succeeded(self, *, inflight: int, fine: bool) -> None:
        """Grow after an answer, if its latency was fine and the limit is what bounds the calls.

        Args:
            inflight: calls under way when it came, itself among them.
            fine: whether its latency was the usual one.
        """
        if not fine:
            self._slow_start = False
        elif 2 * inflight >= self.places:
            step = 1.0 if self._slow_start else 1.0 / self._limit
            self._limit = min(self._most, self._limit + step)

    def congested(self, *, sent_at: float, now: float) -> None:
        """Halve, once for all calls that were under way together."""
        if sent_at < self._decreased_at:
            return
        self._decreased_at = now
        self._slow_start = False
        self._limit = max(1.0, self._limit / 2)


class Latency:
    """What latency is usual, in seconds, and whether it has grown."""

    def __init__(self) -> None:
        """Start knowing none."""
        self._usual: float | None = None
        self._recent = 0.0

    def fine(self, seconds: float) -> bool:
        """Take one answer's latency; return whether those of late are about the usual one.

        Both are moving averages; the usual one moves slowly, so that a queue which builds up over
        there is noticed before it becomes usual.
        """
        if self._usual is None:
            self._usual = self._recent = seconds
        self._recent += 0.3 * (seconds - self._recent)
        self._usual += 0.02 * (seconds - self._usual)
        return self._recent <= _PATIENCE * self._usual + _SLACK_SECONDS
