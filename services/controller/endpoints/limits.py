"""Requests and tokens a minute: what an endpoint's operator allows.

Owns the token buckets of this process and what a call reserves and gives back. Other limiters,
such as one whose buckets several controllers share, can stand in for it: the endpoint knows the
two protocols alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from shared.errors import Overloaded


class Reservation(Protocol):
    """What one call may use; ended by one of the two, the second call of either does nothing."""

    def settle(self, tokens: int) -> None:
        """Charge what was really used."""
        ...

    def cancel(self) -> None:
        """Give all back: nothing was sent."""
        ...


class Limiter(Protocol):
    """Admits calls."""

    async def reserve(self, tokens: int) -> Reservation:
        """Reserve one request and these tokens.

        Raises:
            Overloaded: not now; its `retry_after` says when.
        """
        ...


class Bucket:
    """A token bucket: a minute's amount at most, filled evenly. Pure."""

    def __init__(self, per_minute: int, now: float) -> None:
        """Start full."""
        self.capacity = float(per_minute)
        self._level = self.capacity
        self._filled_at = now

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until `amount` is there; more than it holds waits until it is full."""
        self._fill(now)
        missing = min(amount, self.capacity) - self._level
        return max(0.0, missing / self.capacity * 60.0)

    def take(self, amount: float, now: float) -> None:
        """Take `amount`, or give it back when negative; the level may fall below zero."""
        self._fill(now)
        self._level = min(self.capacity, self._level - amount)

    def _fill(self, now: float) -> None:
        gained = (now - self._filled_at) * self.capacity / 60.0
        self._level = min(self.capacity, self._level + gained)
        self._filled_at = now


class LocalLimiter:
    """The limits of one endpoint in this process; no limit where none is given."""

    def __init__(
        self,
        endpoint: str,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with full buckets."""
        self._endpoint = endpoint
        self._clock = clock
        now = clock()
        self._requests = Bucket(requests_per_minute, now) if requests_per_minute else None
        self._tokens = Bucket(tokens_per_minute, now) if tokens_per_minute else None

    async def reserve(self, tokens: int) -> Reservation:
        """Reserve, or refuse with the time that both buckets need; see `Limiter`."""
        now = self._clock()
        for what, bucket, amount in (
            ("requests", self._requests, 1),
            ("tokens", self._tokens, tokens),
        ):
            wait = bucket.wait(amount, now) if bucket else 0.0
            if wait > 0:
                msg = f"The endpoint '{self._endpoint}' has used up its {what} per minute."
                raise Overloaded(msg, code="rate_limit_exceeded", retry_after=wait)
        self._take(1, tokens, now)
        return _Reserved(self, tokens)

    def give_back(self, requests: int, tokens: int) -> None:
        """Give back what was not used; negative tokens are charged."""
        self._take(-requests, -tokens, self._clock())

    def _take(self, requests: int, tokens: int, now: float) -> None:
        if self._requests:
            self._requests.take(requests, now)
        if self._tokens:
            self._tokens.take(tokens, now)


class _Reserved:
    def __init__(self, limiter: LocalLimiter, tokens: int) -> None:
        self._limiter = limiter
        self._tokens = tokens
        self._open = True

    def settle(self, tokens: int) -> None:
        self._end(0, self._tokens - tokens)

    def cancel(self) -> None:
        self._end(1, self._tokens)

    def _end(self, requests: int, tokens: int) -> None:
        if self._open:
            self._open = False
            self._limiter.give_back(requests, tokens)
