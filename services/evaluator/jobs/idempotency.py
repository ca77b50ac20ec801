"""POSTs with an Idempotency-Key: each is done once, and told again as it was told first.

Owns the lease under which the first one runs, so that one whose evaluator was killed is in
nobody's way for long, and how many answers are kept, for how long.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from dataclasses import dataclass, field
from typing import Any, Literal

from services.evaluator.jobs.connection import Script, StoreUnreachable
from services.evaluator.jobs.records import pack, pack_bytes, unpack, unpack_bytes
from shared.errors import Conflict, IdempotencyKeyReused
from shared.registry import keys

KEPT_SECONDS = 24 * 3600
LEASE_SECONDS = 6.0
MAX_POSTS = 10_000

# KEYS: the post, all posts. ARGV: fingerprint, owner, lease in ms, seconds to keep, slot, the
# most that are kept, what the names of posts begin with.
_BEGIN = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('HMGET', KEYS[1], 'fingerprint', 'status', 'headers', 'body', 'until')
if found[1] and found[1] ~= ARGV[1] then return {'other'} end
if found[2] then return {'replay', found[2], found[3], found[4]} end
if found[5] and tonumber(found[5]) > now then
  return {'running', string.format('%.0f', tonumber(found[5]) - now)}
end
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'owner', ARGV[2], 'until',
  string.format('%.0f', now + tonumber(ARGV[3])))
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('ZADD', KEYS[2], now, ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[2], 0, now - tonumber(ARGV[4]) * 1000)
local many = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[6])
if many > 0 then
  for _, slot in ipairs(redis.call('ZRANGE', KEYS[2], 0, many - 1)) do
    redis.call('DEL', ARGV[7] .. slot)
    redis.call('ZREM', KEYS[2], slot)
  end
end
return {'new'}
""")

# KEYS: the post. ARGV: owner, lease in ms. A lease that ran out is taken up again, if nobody
# else has it.
_RENEW = Script("""
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return {'lost'} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + tonumber(ARGV[2])))
return {'held'}
""")

# KEYS: the post. ARGV: owner, status, headers, body, seconds to keep.
_FINISH = Script("""
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return {'lost'} end
redis.call('HSET', KEYS[1], 'status', ARGV[2], 'headers', ARGV[3], 'body', ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[5])
return {'kept'}
""")

# KEYS: the post, all posts. ARGV: owner, slot.
_FORGET = Script("""
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return {'lost'} end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[2])
return {'forgotten'}
""")


@dataclass(slots=True)
class Begun:
    """A POST that is to be done, or the answer that it had."""

    kind: Literal["new", "replay"]
    slot: str
    owner: str = ""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    renewing: asyncio.Task[None] | None = None


class IdempotencyStore:
    """Remembers POSTs; whoever begins a new one ends it with `finish` or `forget`."""

    def __init__(self, redis: Any, lease: float = LEASE_SECONDS) -> None:
        """Use `redis`, an asyncio client that answers in bytes."""
        self._redis = redis
        self._lease = lease

    async def begin(self, principal: str, key: str, fingerprint: str) -> Begun:
        """Return what is to be done with a POST of `principal` with this key and content.

        Raises:
            IdempotencyKeyReused: the key belongs to another request.
            Conflict: the first one with it still runs. StoreUnreachable.
        """
        content = hashlib.sha256(f"{len(principal)} {principal} {key}".encode())
        slot, owner = content.hexdigest(), uuid.uuid4().hex
        word, *found = await _BEGIN.run(
            self._redis,
            [keys.evaluation_post(slot), keys.EVALUATION_POSTS],
            *(fingerprint, owner, self._lease_ms, KEPT_SECONDS, slot, MAX_POSTS),
            keys.evaluation_post(""),
        )
        match word:
            case b"other":
                msg = "This Idempotency-Key was used for another request."
                raise IdempotencyKeyReused(msg, param="Idempotency-Key")
            case b"running":
                msg = "The first request with this Idempotency-Key is still running."
                raise Conflict(msg, param="Idempotency-Key", retry_after=1.0)
            case b"replay":
                status, headers, body = found
                return Begun(
                    "replay",
                    slot,
                    status=int(status),
                    headers=unpack(headers),
                    body=unpack_bytes(body),
                )
            case _:
                begun = Begun("new", slot, owner)
                begun.renewing = asyncio.create_task(self._renew(begun))
                return begun

    async def finish(self, begun: Begun, status: int, headers: dict[str, str], body: bytes) -> None:
        """Keep the answer of a new one, to be told again. Raises StoreUnreachable."""
        _stop_renewing(begun)
        names = [keys.evaluation_post(begun.slot)]
        stored = (pack(headers), pack_bytes(body))
        await _FINISH.run(self._redis, names, begun.owner, status, *stored, KEPT_SECONDS)

    async def forget(self, begun: Begun) -> None:
        """Let the next one with this key be a new one. Raises StoreUnreachable."""
        _stop_renewing(begun)
        names = [keys.evaluation_post(begun.slot), keys.EVALUATION_POSTS]
        await _FORGET.run(self._redis, names, begun.owner, begun.slot)

    @property
    def _lease_ms(self) -> int:
        return int(self._lease * 1000)

    async def _renew(self, begun: Begun) -> None:
        names = [keys.evaluation_post(begun.slot)]
        while True:
            await asyncio.sleep(self._lease / 3)
            try:
                [word] = await _RENEW.run(self._redis, names, begun.owner, self._lease_ms)
            except StoreUnreachable:
                continue
            if word != b"held":
                return


def _stop_renewing(begun: Begun) -> None:
    if begun.renewing is not None:
        begun.renewing.cancel()
