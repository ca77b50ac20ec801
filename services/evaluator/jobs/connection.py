"""The jobs' connection to Redis, and what it means when Redis cannot be asked."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from redis.exceptions import RedisError

from shared.errors import Unavailable
from shared.registry.view import connect
from shared.settings import FleetSettings

_RETRY_AFTER = 2.0


class StoreUnreachable(Unavailable):
    """Redis does not answer, or refuses: what is stored stays, nothing can be done now."""


def open_connection(settings: FleetSettings) -> Any:
    """Return an asyncio client; Any, since redis-py's own types are unions of two worlds."""
    return connect(settings)


@contextmanager
def reaching_redis() -> Generator[None]:
    """Turn Redis's failures into StoreUnreachable."""
    try:
        yield
    except (RedisError, OSError) as fault:
        msg = f"The evaluator's Redis cannot be asked now ({type(fault).__name__})."
        raise StoreUnreachable(msg, retry_after=_RETRY_AFTER) from fault
