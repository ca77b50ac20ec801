"""Reading the registry: snapshots of all records, and hints that something changed.

Truth is the snapshot; pub/sub only says that it is worth taking one. Owns no opinion on who
is fresh: that is the reader's, on its own monotonic clock.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import redis.asyncio as aredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shared.protocol.workers import ServiceRecord
from shared.registry import keys
from shared.registry.record import Network, RecordRefused, check_address, verify
from shared.settings import FleetSettings

_SOCKET_TIMEOUT = 1.0
_REFUSAL_SECONDS = 30

DEAF_SECONDS = 3.0
"""A subscription that was asked and has said nothing for so long is taken for a dead one."""

_PING_SECONDS = 1.0


# KEYS: the set of services. ARGV: what the keys of their records begin with. Returns each name
# and its record, empty where there is none.
_READ = """
local found = {}
for _, name in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  found[#found + 1] = name
  found[#found + 1] = redis.call('GET', ARGV[1] .. name) or ''
end
return found
"""


class RegistryUnreachable(Exception):
    """Redis cannot be asked now; the reader keeps what it knew."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All services announced at one moment, and those that are not believed with the reason."""

    records: tuple[ServiceRecord, ...]
    refused: dict[str, str]


@dataclass(frozen=True, slots=True)
class RedisMemory:
    """Bytes that Redis uses, and the most that it may; 0: it has no bound."""

    used: int
    most: int


class RegistryView:
    """Reads and watches the registry over one pool of connections."""

    def __init__(self, settings: FleetSettings) -> None:
        """Prepare; nothing is connected before the first call."""
        self._token = settings.internal_token.get_secret_value()
        self._networks: list[Network] = settings.networks()
        self._client = connect(settings)

    async def snapshot(self) -> Snapshot:
        """Return all records whose keys live, checked.

        Raises:
            RegistryUnreachable: Redis does not answer.
        """
        try:
            names, values = await self._read()
            gone = [name for name, value in zip(names, values, strict=True) if value is None]
            if gone:
                await cast("Any", self._client.srem(keys.SERVICES, *gone))
            snapshot = self._checked(names, values)
            for service_id, reason in snapshot.refused.items():
                await self._client.set(keys.refusal(service_id), reason, ex=_REFUSAL_SECONDS)
        except (RedisError, OSError) as fault:
            raise RegistryUnreachable(str(fault)) from fault
        return snapshot

    async def look(self) -> Snapshot:
        """Return the same as `snapshot` and write nothing; for one who is no controller.

        Raises:
            RegistryUnreachable: Redis does not answer.
        """
        try:
            return self._checked(*await self._read())
        except (RedisError, OSError) as fault:
            raise RegistryUnreachable(str(fault)) from fault

    def watch(self) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        """Return a context whose iterator yields a service's id for every hint of its change.

        Entering and iterating raise RegistryUnreachable when the connection is lost, also when
        nobody told it so: a frozen server, a dead link. What was published meanwhile is lost.
        """
        return self._watch()

    @asynccontextmanager
    async def _watch(self) -> AsyncGenerator[AsyncIterator[str]]:
        pubsub = cast("Any", self._client).pubsub(ignore_subscribe_messages=True)
        try:
            await pubsub.subscribe(keys.CHANGES)
            yield _hints(pubsub)
        except (RedisError, OSError) as fault:
            raise RegistryUnreachable(str(fault)) from fault
        finally:
            await pubsub.aclose()

    async def memory(self) -> RedisMemory | None:
        """Return what Redis says of its memory; None: it does not answer, or may not tell."""
        try:
            told: Any = await cast("Any", self._client).info("memory")
            return RedisMemory(int(told["used_memory"]), int(told.get("maxmemory", 0)))
        except (RedisError, OSError, KeyError, ValueError):
            return None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _read(self) -> tuple[list[str], list[bytes | None]]:
        """Return the names of all services and their records, in one round trip."""
        client = cast("Any", self._client)
        found: list[bytes | None] = await client.eval(_READ, 1, keys.SERVICES, keys.service(""))
        names = [(name or b"").decode(errors="replace") for name in found[::2]]
        return names, [value or None for value in found[1::2]]

    def _checked(self, names: list[str], values: list[bytes | None]) -> Snapshot:
        records: list[ServiceRecord] = []
        refused: dict[str, str] = {}
        for name, value in zip(names, values, strict=True):
            if value is None:
                continue
            try:
                records.append(self._check(name, value))
            except RecordRefused as fault:
                refused[name] = str(fault)
        return Snapshot(tuple(records), refused)

    def _check(self, name: str, value: bytes) -> ServiceRecord:
        record = verify(value, self._token)
        check_address(record.address, self._networks)
        if record.id != name:
            msg = f"its record is that of {record.id!r}"
            raise RecordRefused(msg)
        return record


async def _hints(pubsub: Any) -> AsyncIterator[str]:
    """Yield what is published; each quiet second the server is asked whether it is there."""
    heard_at = time.monotonic()
    while True:
        try:
            message = await pubsub.get_message(timeout=_PING_SECONDS)
            if message is None:
                if time.monotonic() - heard_at > DEAF_SECONDS:
                    msg = f"the subscription was silent for {DEAF_SECONDS:g} seconds"
                    raise RegistryUnreachable(msg)
                await pubsub.ping()
                continue
        except (RedisError, OSError) as fault:
            raise RegistryUnreachable(str(fault)) from fault
        heard_at = time.monotonic()
        if message["type"] == "message":
            yield message["data"].decode(errors="replace")


def connect(settings: FleetSettings, timeout: float = _SOCKET_TIMEOUT) -> aredis.Redis:
    """Return an asyncio client with short timeouts, in seconds, and no hidden retries."""
    return aredis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
        settings.redis_url.get_secret_value(),
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
    )
