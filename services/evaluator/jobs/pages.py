"""Lists of things by the time of their making: paging over a sorted set of ids.

Owns what `after` and `order` mean, and drops from an index what has expired.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

from services.evaluator.jobs.connection import reaching_redis
from shared.errors import InvalidRequest

Told = TypeVar("Told")
Page = tuple[list[Told], bool]
"""One page, and whether more follow."""
Order = Literal["asc", "desc"]


async def page_of(  # noqa: PLR0917 - what the API takes, and how to read
    redis: Any,
    index: str,
    after: str | None,
    limit: int,
    order: Order,
    read: Callable[[list[str]], Awaitable[list[Told | None]]],
    wanted: Callable[[Told], bool] | None = None,
) -> Page[Told]:
    """Return a page of the things in `index`, which is bounded; None are the expired ones.

    Raises:
        InvalidRequest: `after` is none of them. StoreUnreachable.
    """
    with reaching_redis():
        ids = [name.decode() for name in await redis.zrange(index, 0, -1)]
        if order == "desc":
            ids.reverse()
        if after is not None:
            if after not in ids:
                raise InvalidRequest("'after' is no id of this list.", param="after")
            ids = ids[ids.index(after) + 1 :]
        found: list[Told] = []
        while ids and len(found) <= limit:
            chunk, ids = ids[: limit + 1], ids[limit + 1 :]
            things = await read(chunk)
            gone = [name for name, told in zip(chunk, things, strict=True) if told is None]
            if gone:
                await redis.zrem(index, *gone)
            found += [each for each in things if each and (wanted is None or wanted(each))]
    return found[:limit], len(found) > limit


async def drop_expired(redis: Any, index: str, key_of: Callable[[str], str]) -> bool:
    """Take out of `index` what does not exist any more; return whether there was any."""
    with reaching_redis():
        ids = [name.decode() for name in await redis.zrange(index, 0, -1)]
        async with redis.pipeline(transaction=False) as batch:
            for name in ids:
                batch.exists(key_of(name))
            exist = await batch.execute()
        gone = [name for name, there in zip(ids, exist, strict=True) if not there]
        if gone:
            await redis.zrem(index, *gone)
    return bool(gone)
