"""Collecting blobs that no record names.

They are of calls whose storing was cut off, that gave way on another host, or whose Redis lost
them. Owns when a file is nobody's. Below this store's id that is for Redis to say, for files that are
old enough not to be waiting for their record; other stores' files, whose Redis is not ours to
ask, are nobody's once they are older than any record.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path

from services.controller.call_store.blobs import BlobFolder
from services.controller.call_store.connection import CallRedis, StoreAway
from services.controller.call_store.scripts import BLOBS_OF
from shared.registry import keys

INTERVAL = 600.0
GRACE_SECONDS = 600.0


class Sweep:
    """Collects what is nobody's in one folder."""

    def __init__(
        self,
        redis: CallRedis,
        blobs: BlobFolder,
        own_id: str,
        ttl_seconds: float,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        """Spare files that are younger than `grace_seconds`.

        `own_id` becomes the store's id if Redis has none.
        """
        self._redis = redis
        self._blobs = blobs
        self._own_id = own_id
        self._ttl_seconds = ttl_seconds
        self._grace_seconds = grace_seconds

    async def run_forever(self) -> None:
        """Sweep about every ten minutes."""
        while True:
            await asyncio.sleep(INTERVAL * random.uniform(0.5, 1))  # noqa: S311 - no secret
            with contextlib.suppress(StoreAway):
                await self.once()

    async def once(self) -> None:
        """Sweep once; the first sweep after a flush leaves this store's files alone.

        A Redis without an id has just lost everything, or is the wrong one for a moment.

        Raises:
            StoreAway: Redis cannot be asked; what was not looked at is looked at next time.
        """
        store_id, known, _ = await self._blobs_of([])
        for shard in await self._blobs.shards():
            if shard.parent.name != store_id:
                old = await self._blobs.older(shard, self._ttl_seconds)
                await self._blobs.discard(old)
            elif known:
                await self._blobs.discard(await self._unnamed(shard))

    async def _unnamed(self, shard: Path) -> list[Path]:
        files = await self._blobs.older(shard, self._grace_seconds)
        slots = [file.name.partition(".")[0] for file in files]
        _, _, digests = await self._blobs_of(slots)
        named = zip(files, slots, digests, strict=True)
        return [file for file, slot, digest in named if file.name != f"{slot}.{digest}"]

    async def _blobs_of(self, slots: list[str]) -> tuple[str, bool, list[str]]:
        """Return the store's id, whether it was there before, and the slots' blobs."""
        store_id, known, *digests = await self._redis.run(
            BLOBS_OF, [keys.CALL_SIZES, keys.CALL_STORE_ID], [self._own_id, *slots]
        )
        return store_id.decode(), bool(known), [digest.decode() for digest in digests]
