"""What a Redis-compatible server says of itself: for those who look for faults, not for services.

Owns the questions, and which refusal means what. It asks without changing anything, but for one
key that lives a second and shows whether writes are taken. Judges no answer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from shared.registry import keys
from shared.registry.view import RegistryUnreachable, RegistryView, Snapshot, connect
from shared.settings import FleetSettings

_PROBE_MILLISECONDS = 1000
# The client takes a server's word for a fault away where it has a type for it.
_WORDS: dict[type[ResponseError], str] = {OutOfMemoryError: "OOM", ReadOnlyError: "READONLY"}


class Refusal(StrEnum):
    """Why a server does not work for us."""

    NO_URL = "no_url"
    UNREACHABLE = "unreachable"
    PASSWORD = "password"  # noqa: S105 - the name of a fault
    LOADING = "loading"
    FAILED = "failed"


class RedisRefuses(Exception):
    """The server cannot be asked; `refusal` says why in our words, the text in its own."""

    def __init__(self, refusal: Refusal, text: str) -> None:
        super().__init__(text)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class RedisReport:
    """What a server told. What it does not tell is empty or 0.

    Attributes:
        version: of the server.
        memory: bytes used.
        memory_limit: bytes it may use; 0: as many as there are.
        policy: what it does at that limit.
        clock_ahead: seconds that its clock shows more than ours.
        write_fault: its answer to a write that it refuses.
        snapshot: the services announced there, as they are believed here; a server that takes no
            writes is not asked, since a script reads them.
        refusals: why controllers do not use a service, by the service's id.
    """

    version: str
    memory: int
    memory_limit: int
    policy: str
    clock_ahead: float
    write_fault: str
    snapshot: Snapshot
    refusals: Mapping[str, str]


async def inspect_redis(settings: FleetSettings, seconds: float) -> RedisReport:
    """Return what the server tells; each answer may take `seconds`.

    Raises:
        RedisRefuses: it cannot be asked.
    """
    try:
        client, view = connect(settings, seconds), RegistryView(settings)
    except ValueError as fault:
        raise RedisRefuses(Refusal.NO_URL, str(fault)) from fault
    asked: Any = client  # its types are partly unknown
    try:
        # No ping: a server whose disk is full refuses even that.
        clock_ahead = await _clock_ahead(asked)
        facts: dict[str, Any] = await _info(asked)
        write_fault = await _write_fault(asked)
        snapshot = Snapshot((), {}) if write_fault else await view.look()
        return RedisReport(
            version=str(facts.get("valkey_version") or facts.get("redis_version") or ""),
            memory=int(facts.get("used_memory") or 0),
            memory_limit=int(facts.get("maxmemory") or 0),
            policy=str(facts.get("maxmemory_policy") or ""),
            clock_ahead=clock_ahead,
            write_fault=write_fault,
            snapshot=snapshot,
            refusals=await _refusals(asked, snapshot),
        )
    except RegistryUnreachable as fault:
        raise RedisRefuses(Refusal.FAILED, str(fault)) from fault
    except (RedisError, OSError) as fault:
        raise RedisRefuses(_meaning(fault), str(fault)) from fault
    finally:
        await client.aclose()
        await view.close()


def _meaning(fault: RedisError | OSError) -> Refusal:
    # On a unix socket the client calls every fault of the opening one of the connection.
    first = fault.__cause__ if isinstance(fault.__cause__, RedisError) else fault
    match first:
        case BusyLoadingError():
            return Refusal.LOADING
        case AuthenticationError() | AuthorizationError() | NoPermissionError():
            return Refusal.PASSWORD
        case ResponseError():
            return Refusal.FAILED
        case _:
            return Refusal.UNREACHABLE


async def _clock_ahead(client: Any) -> float:
    """Return the seconds that its clock is ahead; the answer is taken for half the way's old."""
    asked = time.monotonic()
    seconds, micros = await client.time()
    here = time.time() - (time.monotonic() - asked) / 2  # noqa: TID251 - the clocks are the subject
    return float(seconds + micros / 1e6 - here)


async def _info(client: Any) -> dict[str, Any]:
    try:
        return dict(await client.info())
    except (NoPermissionError, ResponseError):  # a hosted server may keep it to itself
        return {}


async def _write_fault(client: Any) -> str:
    try:
        await client.set(keys.PROBE, "", px=_PROBE_MILLISECONDS)
    except ResponseError as fault:
        return " ".join(filter(None, (_WORDS.get(type(fault)), str(fault))))
    return ""


async def _refusals(client: Any, snapshot: Snapshot) -> dict[str, str]:
    """Return what controllers say of those that are believed here."""
    names = [record.id for record in snapshot.records]
    if not names:
        return {}
    said: list[bytes | None] = await client.mget([keys.refusal(name) for name in names])
    return {
        name: why.decode(errors="replace") for name, why in zip(names, said, strict=True) if why
    }
