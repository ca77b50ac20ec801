"""The jobs' connection to Redis: scripts by their hashes, and what it means when it is away."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from redis.exceptions import NoScriptError, RedisError

from shared.errors import Unavailable
from shared.registry.view import connect
from shared.settings import FleetSettings

_RETRY_AFTER = 2.0
_FOLLOWING_SECONDS = 30.0


class StoreUnreachable(Unavailable):
    """Redis does not answer, or refuses: what is stored stays, nothing can be done now."""


def open_connection(settings: FleetSettings) -> Any:
    """Return an asyncio client; Any, since redis-py's own types are unions of two worlds."""
    return connect(settings)


def open_following(settings: FleetSettings) -> Any:
    """Return a client for those who wait for events: it bears a long silence."""
    return connect(settings, timeout=_FOLLOWING_SECONDS)


@contextmanager
def reaching_redis() -> Generator[None]:
    """Turn Redis's failures into StoreUnreachable."""
    try:
        yield
    except (RedisError, OSError) as fault:
        msg = f"The evaluator's Redis cannot be asked now ({type(fault).__name__})."
        raise StoreUnreachable(msg, retry_after=_RETRY_AFTER) from fault


class Script:
    """One Lua script, sent as its hash; Redis is given the text when it does not know it."""

    def __init__(self, text: str) -> None:
        """Hash it."""
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, redis: Any, keys: Sequence[str], *values: Any) -> list[Any]:
        """Return what it returns. Raises StoreUnreachable."""
        with reaching_redis():
            try:
                return await redis.evalsha(self.sha, len(keys), *keys, *values)
            except NoScriptError:
                return await redis.eval(self.text, len(keys), *keys, *values)

    def add(self, batch: Any, keys: Sequence[str], *values: Any) -> None:
        """Put a call of it into a pipeline."""
        batch.evalsha(self.sha, len(keys), *keys, *values)
