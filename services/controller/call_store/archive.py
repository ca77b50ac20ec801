"""Keeping answers and finding them again: short ones in Redis, long ones in the blob folder.

Owns which answer goes where and what counts against the budget. Knows nothing of who waits for
an answer.
"""

from __future__ import annotations

from services.controller.call_store.blobs import (
    NO_BLOB,
    BlobFolder,
    BlobLost,
    BlobNotWritten,
    name_of,
)
from services.controller.call_store.claims import Budget, Claim, Claims, Taken
from services.controller.call_store.connection import StoreAway
from services.controller.call_store.records import ENTRY_BYTES, Record, RecordUnreadable
from services.controller.relay.answer import Answer

LONGEST_IN_REDIS = 8 * 1024
"""Bytes; a longer body goes into a blob."""


class AnswerLost(Exception):
    """A record is there and its answer is not."""


class NotKept(Exception):
    """An answer could not be stored; `reason` is a label of the metrics."""

    def __init__(self, reason: str, detail: str) -> None:
        """Keep both."""
        super().__init__(detail)
        self.reason = reason


class Archive:
    """Writes answers under claims, and reads those that were stored."""

    def __init__(self, claims: Claims, blobs: BlobFolder, budget: Budget) -> None:
        """Store within `budget`."""
        self._claims = claims
        self._blobs = blobs
        self._budget = budget

    async def find(self, taken: Taken, slot: str) -> Answer:
        """Return the answer of a record that was found. Raises AnswerLost."""
        try:
            record = Record.decode(taken.record)
            if not record.digest:
                return record.with_body(record.body)
            name = name_of(slot, record.digest)
            return record.with_body(await self._blobs.read(taken.store_id, name, record.size))
        except (RecordUnreadable, BlobLost) as fault:
            raise AnswerLost(str(fault)) from fault

    async def keep(self, claim: Claim, answer: Answer) -> None:
        """Store an answer under its claim. Raises NotKept."""
        identity, size = claim.identity, len(answer.body)
        blob = NO_BLOB
        if size > LONGEST_IN_REDIS:
            try:
                blob = await self._blobs.write(claim.store_id, identity.slot, answer.body)
            except BlobNotWritten as fault:
                raise NotKept("blob", str(fault)) from fault
        body = b"" if blob.digest else answer.body
        record = Record(answer.status, answer.headers, body, blob.digest, size)
        encoded = record.encode(identity.fingerprint)
        name, counted = name_of(identity.slot, blob.digest), len(encoded) + ENTRY_BYTES
        if counted > self._budget.record_bytes or blob.size > self._budget.blob_bytes:
            await self._blobs.remove(claim.store_id, [name])
            raise NotKept("too_large", f"an answer of {size} bytes is over the store's budget")
        try:
            stored = await self._claims.store(claim, encoded, counted, blob)
        except StoreAway as fault:
            # It may have been stored all the same, so the blob stays; the sweep knows.
            raise NotKept("redis", str(fault)) from fault
        if not stored.kept:
            # The blob may be the winner's too, if both brought the same text.
            raise NotKept("lost", "another controller was first")
        unneeded = [other for other in stored.blobs if other != name]
        await self._blobs.remove(claim.store_id, unneeded)
