"""The API keys in Redis: made, listed, changed, revoked, looked up.

Truth is in Redis and nothing is kept here. A revoked key's record stays for a while, so that a
controller which knew the key learns that it was revoked, and not just lost.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from pydantic import ValidationError
from redis.exceptions import RedisError

from services.controller.access.key_record import (
    KeyLimits,
    KeyRecord,
    KeySpec,
    new_key,
    wall_clock,
)
from shared.errors import InvalidRequest, NotFound, Unavailable
from shared.registry import keys
from shared.registry.view import connect
from shared.settings import FleetSettings

MAX_KEYS = 10_000
SOCKET_SECONDS = 0.2
"""To open a connection, and for each answer."""
_DEADLINE_SECONDS = 0.4
_RETRY_AFTER = 2.0

# KEYS: records, version. ARGV: id, record, version, most records.
# Returns 0 when there is no room.
_CREATE = """
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[3])
return 1
"""
# KEYS: records, version. ARGV: id, the record as it was read, the new one, version.
# Returns 0 when another one changed it meanwhile.
_REPLACE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('SET', KEYS[2], ARGV[4])
return 1
"""
# KEYS: records, version. ARGV: version, then ids and records. What is there already stays,
# unless the one given was revoked: a revocation is never undone.
_RESTORE = """
for i = 2, #ARGV, 2 do
  local revoked = cjson.decode(ARGV[i + 1]).revoked_at
  if redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1]) == 0
      and type(revoked) == 'number' then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
redis.call('SET', KEYS[2], ARGV[1])
"""
_ATTEMPTS = 5


class KeysUnreachable(Unavailable):
    """Redis does not answer: whether a key is valid cannot be told now."""

    def __init__(self) -> None:
        """Say so; the caller may try again soon."""
        super().__init__("The API keys cannot be looked up now.", retry_after=_RETRY_AFTER)


class KeyStore:
    """Reads and writes the keys; every call raises KeysUnreachable without Redis, in half a second."""

    def __init__(self, settings: FleetSettings) -> None:
        """Prepare; nothing is connected before the first call."""
        # redis-py's own types are unions of its two worlds.
        self._redis: Any = connect(settings, SOCKET_SECONDS)

    async def create(self, spec: KeySpec) -> tuple[str, KeyRecord]:
        """Make a key and return it with its record: the only time that it is told.

        Raises:
            InvalidRequest: too many keys are kept.
        """
        key, record = new_key(spec)
        arguments = (record.id, record.model_dump_json(), uuid.uuid4().hex, MAX_KEYS)
        async with _reaching():
            made = await self._call(_CREATE, *arguments)
        if not made:
            await self._forget_ended()
            async with _reaching():
                made = await self._call(_CREATE, *arguments)
        if not made:
            msg = f"{MAX_KEYS} keys are kept, and there is no room for another."
            raise InvalidRequest(msg, code="too_many_keys")
        return key, record

    async def all(self) -> list[KeyRecord]:
        """Return every record, the newest first."""
        async with _reaching():
            stored = await self._redis.hgetall(keys.API_KEYS)
        records = [record for record in map(_parsed, stored.values()) if record is not None]
        return sorted(records, key=lambda record: (record.created_at, record.id), reverse=True)

    async def get(self, key_id: str) -> KeyRecord:
        """Return one record; raises NotFound."""
        record = await self.find(key_id)
        if record is None:
            raise _not_found(key_id)
        return record

    async def find(self, key_id: str) -> KeyRecord | None:
        """Return one record, None if there is none."""
        async with _reaching():
            return _parsed(await self._redis.hget(keys.API_KEYS, key_id))

    async def find_many(self, key_ids: list[str]) -> list[KeyRecord | None]:
        """Return the records of these ids, None for each that there is not."""
        async with _reaching():
            return [_parsed(raw) for raw in await self._redis.hmget(keys.API_KEYS, key_ids)]

    async def revoke(self, key_id: str) -> KeyRecord:
        """End a key for good and return its record; raises NotFound."""
        record = await self.get(key_id)
        if record.revoked_at is not None:
            return record
        return await self._change(key_id, {"revoked_at": int(wall_clock())})

    async def limit(self, key_id: str, limits: KeyLimits) -> KeyRecord:
        """Change those of a key's limits that are set, and return its record; raises NotFound."""
        return await self._change(key_id, limits.model_dump(exclude_unset=True))

    async def version(self) -> bytes | None:
        """Return the token that changes with every change; None where there are no keys."""
        async with _reaching():
            return await self._redis.get(keys.API_KEYS_VERSION)

    async def restore(self, records: Iterable[KeyRecord]) -> None:
        """Write back records that Redis has lost, or of which it has lost the revocation."""
        arguments: list[str] = []
        for record in records:
            arguments += [record.id, record.model_dump_json()]
        async with _reaching():
            await self._call(_RESTORE, uuid.uuid4().hex, *arguments)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _change(self, key_id: str, changes: dict[str, Any]) -> KeyRecord:
        for _ in range(_ATTEMPTS):
            async with _reaching():
                stored = await self._redis.hget(keys.API_KEYS, key_id)
            record = _parsed(stored)
            if record is None:
                break
            changed = record.model_copy(update=changes)
            arguments = (key_id, stored, changed.model_dump_json(), uuid.uuid4().hex)
            async with _reaching():
                if await self._call(_REPLACE, *arguments):
                    return changed
        raise _not_found(key_id)

    async def _forget_ended(self) -> None:
        """Make room: take out the records of keys that ended long ago."""
        now = wall_clock()
        ended = [record.id for record in await self.all() if record.forgettable(now)]
        if ended:
            async with _reaching():
                await self._redis.hdel(keys.API_KEYS, *ended)

    async def _call(self, script: str, *arguments: object) -> Any:
        return await self._redis.eval(script, 2, keys.API_KEYS, keys.API_KEYS_VERSION, *arguments)


@asynccontextmanager
async def _reaching() -> AsyncGenerator[None]:
    """Turn Redis's failures, and its silence, into KeysUnreachable."""
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            yield
    except (RedisError, OSError, TimeoutError) as fault:
        raise KeysUnreachable from fault


def _parsed(stored: bytes | None) -> KeyRecord | None:
    """Return a record as it was stored; one that cannot be read opens nothing."""
    if stored is None:
        return None
    try:
        return KeyRecord.model_validate_json(stored)
    except ValidationError:
        return None


def _not_found(key_id: str) -> NotFound:
    return NotFound(f"There is no API key {key_id!r}.", param="id")
