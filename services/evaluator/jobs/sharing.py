"""Sharing free slots out between open runs: who has least in work comes first.

Pure. So two runs have the same share however long each is, and what one cannot use another has.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar


class Sharing(Protocol):
    """What must be known of a run."""

    @property
    def busy(self) -> int:
        """How many of its units are in work here."""
        ...

    @property
    def most(self) -> int:
        """How many may be."""
        ...


R = TypeVar("R", bound=Sharing)


def shares(runs: Iterable[R], free: int) -> Iterator[tuple[R, int]]:
    """Yield runs that get some of `free` slots, each with how many; equal ones take turns."""
    listed = list(runs)
    heap = [(run.busy, place) for place, run in enumerate(listed) if run.busy < run.most]
    heapq.heapify(heap)
    gained = [0] * len(listed)
    while free > 0 and heap:
        busy, place = heapq.heappop(heap)
        gained[place] += 1
        free -= 1
        if busy + 1 < listed[place].most:
            heapq.heappush(heap, (busy + 1, place))
    for run, gain in zip(listed, gained, strict=True):
        if gain:
            yield run, gain
