"""Waiting for a place at an endpoint: first come, first served, bounded, cancellable.

Owns the count of calls under way and the queue before it. How many places there are is the
adaptive limit's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from services.controller.endpoints.concurrency import AdaptiveLimit
from shared.errors import Overloaded

_LONGEST_RETRY_AFTER = 60.0


class Gate:
    """The places of one endpoint."""

    def __init__(
        self, endpoint: str, limit: AdaptiveLimit, *, max_waiting: int, longest_wait: float
    ) -> None:
        """Let in as many as `limit` has places; `longest_wait` is in seconds."""
        self.inflight = 0
        self._endpoint = endpoint
        self._limit = limit
        self._max_waiting = max_waiting
        self._longest_wait = longest_wait
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._usual_stay = 1.0

    @property
    def waiting(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    async def enter(self) -> None:
        """Take a place, which `leave` gives back.

        Raises:
            Overloaded: too many wait already, or none became free in time.
        """
        if not self._waiting and self.inflight < self._limit.places:
            self.inflight += 1
            return
        if len(self._waiting) >= self._max_waiting:
            raise self._full()
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(self._longest_wait):
                await place
        except BaseException as fault:
            if place.done() and not place.cancelled():
                # It came together with the timeout or the cancellation.
                self._give_back()
            else:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(place)
            if isinstance(fault, TimeoutError):
                raise self._full() from None
            raise

    def leave(self, stayed: float) -> None:
        """Give a place back after `stayed` seconds."""
        self._usual_stay += 0.2 * (stayed - self._usual_stay)
        self._give_back()

    def _give_back(self) -> None:
        self.inflight -= 1
        while self._waiting and self.inflight < self._limit.places:
            place = self._waiting.popleft()
            if not place.done():
                self.inflight += 1
                place.set_result(None)

    def _full(self) -> Overloaded:
        msg = f"All places of the endpoint '{self._endpoint}' are taken."
        ahead = len(self._waiting) + 1
        retry_after = min(_LONGEST_RETRY_AFTER, ahead * self._usual_stay / self._limit.places)
        return Overloaded(msg, retry_after=retry_after)
