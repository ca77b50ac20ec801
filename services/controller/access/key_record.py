"""An API key as it is kept: its digest and what it allows, never the key itself.

Owns the key's form (`zoo-` and 256 random bits), its id and the record's fields.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, WithJsonSchema, field_validator

from services.controller.access.principal import Principal, Scope
from shared.protocol.priority import Priority
from shared.protocol.validation import Strict

Limit = Annotated[int, Field(ge=0, le=10**12)]
# Strict shapes take no text for an enum, but text is what JSON has; and the API's description
# has no place for definitions of ours.
ScopeName = Annotated[
    Scope,
    Field(strict=False),
    WithJsonSchema({"type": "string", "enum": [scope.value for scope in Scope]}),
]
Scopes = Annotated[list[ScopeName], Field(min_length=1)]
PriorityName = Literal["interactive", "batch"]
KEPT_SECONDS = 30 * 86400
"""How long a record stays after its key has ended."""

KEY_PREFIX = b"zoo-"
_KEY_BYTES = 32
_ID_DIGITS = 16


class KeyLimits(Strict):
    """What a key may use; 0 is without a limit."""

    requests_per_minute: Limit = 0
    tokens_per_minute: Limit = 0
    priority: PriorityName = "interactive"


class KeySpec(KeyLimits):
    """What is said of a key when it is made."""

    name: str = Field(min_length=1, max_length=100)
    scopes: Scopes = Field(default_factory=lambda: [Scope.CHAT])
    expires_in: float | None = Field(None, gt=0, le=100 * 366 * 86400)
    """Seconds from now; None: it does not expire."""

    @field_validator("name")
    @classmethod
    def _one_line(cls, name: str) -> str:
        if not name.isprintable():
            msg = "a name is one line of printable text"
            raise ValueError(msg)
        return name

    @field_validator("scopes")
    @classmethod
    def _each_once(cls, scopes: list[Scope]) -> list[Scope]:
        return sorted(set(scopes))


class KeyRecord(KeyLimits):
    """One key in Redis. Times are in seconds since 1970."""

    # A newer version's record may say more.
    model_config = ConfigDict(extra="ignore")

    id: str
    name: str
    digest: str
    scopes: Scopes
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None

    def valid(self, now: float) -> bool:
        """Return whether the key opens anything at `now`."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def forgettable(self, now: float) -> bool:
        """Return whether the key ended so long ago that its record has served its purpose."""
        ends = [end for end in (self.revoked_at, self.expires_at) if end is not None]
        return bool(ends) and min(ends) + KEPT_SECONDS < now

    def principal(self) -> Principal:
        """Return who sends this key."""
        return Principal(
            self.id,
            self.name,
            frozenset(self.scopes),
            Priority.parse(self.priority),
            self.requests_per_minute,
            self.tokens_per_minute,
        )

    def told(self, now: float) -> dict[str, Any]:
        """Return what an operator sees: all but the digest."""
        state = "valid" if self.valid(now) else "expired" if self.revoked_at is None else "revoked"
        return {"object": "api_key", "state": state, **self.model_dump(exclude={"digest"})}


def new_key(spec: KeySpec) -> tuple[str, KeyRecord]:
    """Return a new key, which nobody will see again, and its record."""
    key = KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES).encode()
    key_digest = digest(key)
    now = wall_clock()
    record = KeyRecord(
        id=key_id(key_digest),
        digest=key_digest.hex(),
        created_at=int(now),
        expires_at=None if spec.expires_in is None else int(now + spec.expires_in),
        **spec.model_dump(exclude={"expires_in"}),
    )
    return key.decode(), record


def digest(key: bytes) -> bytes:
    """Return the SHA-256 of a key.

    A key holds 256 random bits, so there is nothing that a slow hash would protect.
    """
    return hashlib.sha256(key).digest()


def key_id(key_digest: bytes) -> str:
    """Return the public id of the key with this digest: a part of it, so that it finds the record."""
    return f"key_{key_digest.hex()[:_ID_DIGITS]}"


def wall_clock() -> float:
    """Return the seconds since 1970: expiry is a date, which no monotonic clock knows."""
    return datetime.now(UTC).timestamp()
