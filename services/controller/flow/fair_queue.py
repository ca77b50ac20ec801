"""Requests that wait: interactive ones before batch ones, and within a class each key in its turn.

Owns the order and the bounds. A key's turn comes by start-time fair queueing (Goyal et al., 1996):
each request begins, in virtual time, where its key's last one ended or where the queue is now, and
lasts as long as its tokens; who begins first is next. So a key that asks much waits behind itself
and not before others. Knows no clock, no worker and no asyncio.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from shared.protocol.priority import Priority

_MOST_IDLE_KEYS = 1024


@dataclass(slots=True, eq=False)
class Waiter:
    """One request that waits; subclassed by whoever has more to say of it."""

    key: str
    priority: Priority
    tokens: int
    size: int
    start: float = field(default=0.0, init=False)
    waiting: bool = field(default=False, init=False)


class FairQueue:
    """Bounded in requests and in bytes, over all classes together."""

    def __init__(self, max_waiters: int, max_bytes: int) -> None:
        """Start empty."""
        self._max_waiters, self._max_bytes = max_waiters, max_bytes
        self._bands = {priority: _Band() for priority in Priority}
        self.size = 0

    def __len__(self) -> int:
        """Return how many wait."""
        return sum(len(band) for band in self._bands.values())

    def __iter__(self) -> Iterator[Waiter]:
        """Yield all who wait: class by class, in each in the order of their turns."""
        for priority in sorted(self._bands):
            yield from self._bands[priority]

    def waiting(self, priority: Priority) -> int:
        """Return how many of a class wait."""
        return len(self._bands[priority])

    def ahead_of(self, priority: Priority) -> int:
        """Return how many wait that are served before, or by turns with, one of this class."""
        return sum(len(band) for each, band in self._bands.items() if each <= priority)

    def add(self, waiter: Waiter) -> list[Waiter]:
        """Let one wait; return those that have to go for it, which may be itself.

        A full queue sheds batch before interactive requests, and of a class the latest one of the
        key that has most of them waiting.
        """
        band = self._bands[waiter.priority]
        band.add(waiter)
        self.size += waiter.size
        shed: list[Waiter] = []
        while self and (len(self) > self._max_waiters or self.size > self._max_bytes):
            lowest = max(priority for priority, band in self._bands.items() if len(band))
            latest = self._bands[lowest].latest_of_longest(prefer=waiter.key)
            self.discard(latest)
            shed.append(latest)
        return shed

    def discard(self, waiter: Waiter) -> None:
        """Let one wait no more, if it does."""
        if waiter.waiting:
            self._bands[waiter.priority].remove(waiter)
            self.size -= waiter.size

    def take(self, fits: Callable[[Waiter], bool]) -> Waiter | None:
        """Let the first one that fits wait no more, and return it; None: nobody fits."""
        for priority in sorted(self._bands):
            taken = self._bands[priority].take(fits)
            if taken is not None:
                self.size -= taken.size
                return taken
        return None


class _Band:
    """The waiters of one class."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Waiter]] = []
        self._by_key: dict[str, deque[Waiter]] = {}
        self._ends: dict[str, float] = {}
        self._now = 0.0
        self._count = 0
        self._number = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Waiter]:
        return iter([waiter for _, _, waiter in sorted(self._heap) if waiter.waiting])

    def add(self, waiter: Waiter) -> None:
        waiter.start = max(self._now, self._ends.get(waiter.key, 0.0))
        self._ends[waiter.key] = waiter.start + max(1, waiter.tokens)
        waiter.waiting = True
        self._number += 1
        self._count += 1
        heapq.heappush(self._heap, (waiter.start, self._number, waiter))
        self._by_key.setdefault(waiter.key, deque()).append(waiter)

    def remove(self, waiter: Waiter) -> None:
        waiter.waiting = False
        self._count -= 1
        own = self._by_key[waiter.key]
        own.remove(waiter)
        if not own:
            del self._by_key[waiter.key]
        # What is gone lies about in the heap, but never more of it than of what waits.
        if len(self._heap) > 2 * self._count + 16:
            self._heap = [entry for entry in self._heap if entry[2].waiting]
            heapq.heapify(self._heap)
        if not self._count:
            self._heap.clear()
            self._ends.clear()
            self._now = 0.0
        elif len(self._ends) > _MOST_IDLE_KEYS + len(self._by_key):
            self._ends = {key: end for key, end in self._ends.items() if end > self._now}

    def latest_of_longest(self, prefer: str) -> Waiter:
        """Return the latest waiter of the key with most of them; of equals it is `prefer`."""
        longest = max(self._by_key, key=lambda key: (len(self._by_key[key]), key == prefer))
        return self._by_key[longest][-1]

    def take(self, fits: Callable[[Waiter], bool]) -> Waiter | None:
        passed: list[tuple[float, int, Waiter]] = []
        try:
            while self._heap:
                entry = heapq.heappop(self._heap)
                waiter = entry[2]
                if waiter.waiting and fits(waiter):
                    self._now = max(self._now, waiter.start)
                    self.remove(waiter)
                    return waiter
                if waiter.waiting:
                    passed.append(entry)
        finally:
            for entry in passed:
                heapq.heappush(self._heap, entry)
        return None
