"""Who makes a call: one holder among all controllers, under a lease that is renewed.

Owns the claims of this process, the loop that renews them all in one script, and what is said to
Redis when a call ends. A holder that dies renews nothing, so whoever waits takes the call over
when the lease has run out, and learns that it was begun before. Calls no model, reads and
writes no file.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import structlog

from services.controller.call_store.blobs import Blob
from services.controller.call_store.connection import CallRedis, StoreAway
from services.controller.call_store.identity import CallIdentity
from services.controller.call_store.metrics import CallStoreMetrics
from services.controller.call_store.scripts import RELEASE, RENEW, STORE, TAKE
from shared.registry import keys

log = structlog.get_logger(__name__)

LEASE_SECONDS = 5.0
INTENT_SECONDS = 24 * 3600.0
"""How long it is known that a call was begun whose end nobody saw; it is asked for again soon."""

MOST_DROPS = 1000
"""Most calls that give way to one; it bounds how long Redis is busy with a store."""

_INTENT_MS = int(INTENT_SECONDS * 1000)
_ACCOUNTS = (
    keys.CALLS,
    keys.CALLS_IN_BLOBS,
    keys.CALL_SIZES,
    keys.CALL_TOTALS,
    keys.CALL_STORE_ID,
)


@dataclass(eq=False, slots=True)
class Claim:
    """One call that this process makes."""

    identity: CallIdentity
    store_id: str = ""
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    lost: bool = False
    """Whether another controller has it: this process was cut off for longer than the lease."""
    settled: bool = False
    """Whether Redis was told of the end."""
    begun_before: int = 0
    """How often it was begun by holders that told no end: it may have been made so often."""
    in_vain: bool = False
    """Whether it ended, and surely no answer was made."""

    @property
    def name(self) -> str:
        """Return the name of its key."""
        return keys.call_claim(self.identity.slot)

    @property
    def intent(self) -> str:
        """Return the name of the key that counts how often it was begun."""
        return keys.call_intent(self.identity.slot)

    @property
    def repeats(self) -> int:
        """Return how often it may have been made beside this time."""
        return self.begun_before + self.lost

    @property
    def mark(self) -> str:
        """Return what its key holds."""
        return self.identity.fingerprint + self.token


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of taking a call; `word` is held, stored, busy or reused."""

    word: str
    store_id: str
    record: bytes = b""
    seconds_left: float = 0.0
    """Of the other holder's lease."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How long calls are kept, and how many bytes they may take."""

    ttl_seconds: float
    record_bytes: int
    blob_bytes: int


@dataclass(frozen=True, slots=True)
class Stored:
    """What came of storing an answer; `blobs` are the names of those nobody needs any more."""

    kept: bool
    blobs: tuple[str, ...]


class Claims:
    """The claims of one controller."""

    def __init__(
        self,
        redis: CallRedis,
        budget: Budget,
        metrics: CallStoreMetrics,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """Hold claims for `lease_seconds`, renewed at a third of it."""
        self._redis = redis
        self._budget = budget
        self._metrics = metrics
        self._lease_seconds = lease_seconds
        self._lease_ms = int(lease_seconds * 1000)
        self._held: set[Claim] = set()

    async def take(self, claim: Claim, new_id: str, useless: bytes = b"") -> Taken:
        """Try to become the holder; a `useless` record, which cannot be read, is forgotten.

        `new_id` becomes the store's id if Redis has none. Raises StoreAway.
        """
        identity = claim.identity
        word, store_id, *more = await self._redis.run(
            TAKE,
            [*_ACCOUNTS, keys.call(identity.slot), claim.name, claim.intent],
            [
                keys.call(""),
                identity.slot,
                identity.fingerprint,
                claim.token,
                self._lease_ms,
                new_id,
                hashlib.sha1(useless, usedforsecurity=False).hexdigest() if useless else "",
                _INTENT_MS,
            ],
        )
        claim.store_id = store_id.decode()
        match word:
            case b"stored":
                return Taken("stored", claim.store_id, record=more[0])
            case b"busy":
                return Taken("busy", claim.store_id, seconds_left=max(0, more[0]) / 1000)
            case b"held":
                claim.begun_before = max(0, more[0])
                return Taken("held", claim.store_id)
            case _:
                return Taken(word.decode(), claim.store_id)

    @contextlib.asynccontextmanager
    async def held(self, claim: Claim) -> AsyncGenerator[None]:
        """Renew a claim for the time of the context; what was not stored is released."""
        self._held.add(claim)
        try:
            yield
        finally:
            self._held.discard(claim)
            if not claim.settled:
                await self._release(claim)

    async def store(self, claim: Claim, record: bytes, size: int, blob: Blob) -> Stored:
        """Store a record that counts as `size` bytes, with its blob.

        Not kept if another holder was first. Raises StoreAway.
        """
        identity, budget = claim.identity, self._budget
        word, records, blobs, gave_way, *unneeded = await self._redis.insist(
            STORE,
            [*_ACCOUNTS, keys.call(identity.slot), claim.name, claim.intent],
            [
                keys.call(""),
                identity.slot,
                identity.fingerprint,
                claim.token,
                record,
                size,
                blob.digest,
                blob.size,
                int(budget.ttl_seconds * 1000),
                budget.record_bytes,
                budget.blob_bytes,
                MOST_DROPS,
            ],
        )
        claim.settled = True
        self._metrics.kept(records, blobs, gave_way)
        return Stored(word == b"stored", tuple(name.decode() for name in unneeded))

    async def renew_forever(self) -> None:
        """Renew all claims at a third of their lease."""
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            claims = list(self._held)
            if claims:
                with contextlib.suppress(StoreAway):
                    await self._renew(claims)

    async def _renew(self, claims: list[Claim]) -> None:
        words: list[bytes] = await self._redis.run(
            RENEW,
            [name for claim in claims for name in (claim.name, claim.intent)],
            [self._lease_ms, _INTENT_MS, *(claim.mark for claim in claims)],
        )
        for claim, word in zip(claims, words, strict=True):
            if word == b"lost" and not claim.lost:
                claim.lost = True
                self._metrics.lost_leases.inc()
                log.warning("another controller took a call over", slot=claim.identity.slot)
            if word == b"again" and claim not in self._held:
                # It ended while its renewal was under way.
                await self._release(claim)

    async def _release(self, claim: Claim) -> None:
        # Undelivered, the claim runs out by itself.
        with contextlib.suppress(StoreAway):
            values = [claim.mark, int(claim.in_vain)]
            await self._redis.run(RELEASE, [claim.name, claim.intent], values)
