"""A shared bucket in memory, in which nothing is refilled and every exchange can fail."""

from __future__ import annotations

import asyncio

from services.controller.access.lease_store import LeasesUnreachable, Slice


class FakeLeaseStore:
    """What a lease asks of the store; `level` is what is left."""

    def __init__(self, level: int) -> None:
        self.level = level
        self.reachable = True
        self.exchanges = 0

    async def exchange(self, _bucket, limit, *, need, want, returned, assumed) -> Slice:
        self.exchanges += 1
        await asyncio.sleep(0)
        if not self.reachable:
            raise LeasesUnreachable
        self.level += returned
        assert self.level <= limit
        assert assumed <= limit
        granted = min(self.level, want) if self.level >= need else 0
        self.level -= granted
        return Slice(granted, self.level)
