"""Who holds which key, from memory: the keys that this controller has seen.

Owns what is remembered and for how long. A key not yet seen is looked up in Redis, once for all
who ask at the same time; a key once seen stays valid without Redis. Once a second one small
read tells whether any key was changed or revoked, here or by another controller, and whether
Redis has lost them, in which case they are written back.

No pub/sub: it would save a second at best, and its silence cannot be told from peace.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator

import structlog

from services.controller.access.key_record import KeyRecord, digest, key_id, wall_clock
from services.controller.access.keys import KeyStore, KeysUnreachable
from services.controller.access.principal import Principal
from services.controller.access.static_keys import StaticKeys
from services.controller.background import kept_running

log = structlog.get_logger(__name__)

CHECK_SECONDS = 1.0
UNKNOWN_SECONDS = 1.0
"""How long a key that nobody knows is refused without another look."""

MAX_SEEN = 4096
MAX_UNKNOWN = 4096
MAX_LOOKUPS = 64
"""Keys looked up at once; beyond them a flood of guesses is at work."""

MAX_KEY_BYTES = 512
_BATCH = 128


class _Seen:
    """A key once seen: its holder, and its record unless it is a static one."""

    __slots__ = ("expires_at", "principal", "record")

    def __init__(self, principal: Principal | None = None) -> None:
        self.principal = principal
        self.record: KeyRecord | None = None
        self.expires_at: float | None = None

    def learn(self, record: KeyRecord) -> None:
        """Take over what Redis says; a revocation stays, whatever it says."""
        if self.record is not None and self.record.revoked_at is not None:
            return
        self.record = record
        self.expires_at = record.expires_at
        self.principal = record.principal() if record.revoked_at is None else None


class Keyring:
    """Finds the holder of a key."""

    def __init__(self, static: StaticKeys, store: KeyStore) -> None:
        """Know `static` and what `store` holds; `run` keeps it up to date."""
        self._static = static
        self._store = store
        self._seen: OrderedDict[bytes, _Seen] = OrderedDict()
        self._unknown: OrderedDict[bytes, float] = OrderedDict()
        self._lookups: dict[bytes, asyncio.Task[KeyRecord | None]] = {}
        self._version: bytes | None = None
        self._reachable: bool | None = None
        self._blind_until = 0.0
        self._task: asyncio.Task[None] | None = None

    def known(self, key: bytes) -> Principal | None:
        """Return the holder of a valid key that was seen before."""
        key_digest = digest(key)
        seen = self._seen.get(key_digest)
        if seen is None or (seen.expires_at is not None and seen.expires_at <= wall_clock()):
            return None
        self._seen.move_to_end(key_digest)
        return seen.principal

    async def find(self, key: bytes) -> Principal | None:
        """Return the holder of a key; None when there is no such key.

        Raises:
            KeysUnreachable: it was never seen, and Redis does not answer.
        """
        if len(key) > MAX_KEY_BYTES:
            return None
        key_digest = digest(key)
        if key_digest in self._seen:
            return self.known(key)
        static = self._static.find(key_digest)
        if static is not None:
            return self._remember(key_digest, _Seen(static))
        if self._unknown.get(key_digest, 0.0) > time.monotonic():
            return None
        record = await self._looked_up(key_digest)
        if record is None or not hmac.compare_digest(record.digest, key_digest.hex()):
            self._unknown[key_digest] = time.monotonic() + UNKNOWN_SECONDS
            if len(self._unknown) > MAX_UNKNOWN:
                self._unknown.popitem(last=False)
            return None
        seen = _Seen()
        seen.learn(record)
        self._remember(key_digest, seen)
        return self.known(key)

    def learn(self, record: KeyRecord) -> None:
        """Take over at once what was changed here."""
        seen = self._seen.get(bytes.fromhex(record.digest))
        if seen is not None:
            seen.learn(record)

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Keep up with changes for the time of the context."""
        async with kept_running(self._keep_up(), "api-keys") as self._task:
            yield
        await asyncio.gather(*self._lookups.values(), return_exceptions=True)

    @property
    def alive(self) -> bool:
        """Return whether changes are being followed."""
        return self._task is not None and not self._task.done()

    async def _looked_up(self, key_digest: bytes) -> KeyRecord | None:
        task = self._lookups.get(key_digest)
        if task is None:
            # Without Redis each guess would take its time, and be kept until it is over.
            if time.monotonic() < self._blind_until or len(self._lookups) >= MAX_LOOKUPS:
                raise KeysUnreachable
            task = asyncio.create_task(self._look_up(key_digest))
            # Asked for, or else the loop complains where all who waited have left.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._lookups[key_digest] = task
        # A client that leaves must not take the answer from the others.
        return await asyncio.shield(task)

    async def _look_up(self, key_digest: bytes) -> KeyRecord | None:
        try:
            return await self._store.find(key_id(key_digest))
        except KeysUnreachable:
            self._blind_until = time.monotonic() + CHECK_SECONDS
            raise
        finally:
            del self._lookups[key_digest]

    def _remember(self, key_digest: bytes, seen: _Seen) -> Principal | None:
        self._seen[key_digest] = seen
        if len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)
        return seen.principal

    async def _keep_up(self) -> None:
        while True:
            if await asyncio.to_thread(self._static.reread):
                self._forget_static()
            try:
                await self._compare()
                self._tell(reachable=True)
            except KeysUnreachable:
                self._tell(reachable=False)
            await asyncio.sleep(CHECK_SECONDS)

    async def _compare(self) -> None:
        """Learn what was changed since the last time, and write back what Redis has lost."""
        version = await self._store.version()
        if version == self._version:
            return
        seen = [each for each in self._seen.values() if each.record is not None]
        for start in range(0, len(seen), _BATCH):
            batch = [(each, each.record) for each in seen[start : start + _BATCH] if each.record]
            records = await self._store.find_many([record.id for _, record in batch])
            lost: list[KeyRecord] = []
            for (each, known), record in zip(batch, records, strict=True):
                if record is not None:
                    each.learn(record)
                if _is_lost(known, record):
                    lost.append(known)
            if lost:
                log.warning("Redis has lost API keys: written back", keys=len(lost))
                await self._store.restore(lost)
        self._unknown.clear()
        self._version = version

    def _forget_static(self) -> None:
        for key_digest in [each for each, seen in self._seen.items() if seen.record is None]:
            del self._seen[key_digest]

    def _tell(self, *, reachable: bool) -> None:
        if reachable == self._reachable:
            return
        self._reachable = reachable
        if not reachable:
            log.warning("API keys cannot be read: those seen before stay valid")


def _is_lost(known: KeyRecord, stored: KeyRecord | None) -> bool:
    if known.forgettable(wall_clock()):
        return False
    return stored is None or (known.revoked_at is not None and stored.revoked_at is None)
