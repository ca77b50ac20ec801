"""POSTs with an Idempotency-Key, remembered in a real Redis."""

from __future__ import annotations

import asyncio

import pytest

from services.evaluator.jobs import idempotency
from services.evaluator.jobs.idempotency import IdempotencyStore
from shared.errors import Conflict, IdempotencyKeyReused
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.redis

LEASE = 0.3


@pytest.fixture
def store(redis):
    return IdempotencyStore(redis, LEASE)


async def test_an_answer_is_told_again_as_it_was(store):
    begun = await store.begin("me", "key", "content")
    assert begun.kind == "new"
    await store.finish(begun, 201, {"location": "/x"}, b"body" * 2000)
    again = await store.begin("me", "key", "content")
    assert again.kind == "replay"
    assert (again.status, again.headers, again.body) == (201, {"location": "/x"}, b"body" * 2000)
    # Somebody else's key of that name is another one.
    other = await store.begin("you", "key", "other content")
    assert other.kind == "new"
    await store.forget(other)


async def test_a_key_belongs_to_one_request(store):
    begun = await store.begin("me", "key", "content")
    with pytest.raises(IdempotencyKeyReused):
        await store.begin("me", "key", "other")
    await store.finish(begun, 200, {}, b"")
    with pytest.raises(IdempotencyKeyReused):
        await store.begin("me", "key", "other")


async def test_of_many_at_once_one_is_new_and_the_others_wait(store):
    found = await asyncio.gather(
        *(store.begin("me", "key", "content") for _ in range(10)), return_exceptions=True
    )
    begun = [each for each in found if not isinstance(each, Conflict)]
    assert [each.kind for each in begun] == ["new"]
    assert all(each.retry_after for each in found if isinstance(each, Conflict))
    await store.forget(begun[0])
    again = await store.begin("me", "key", "content")
    assert again.kind == "new"
    await store.forget(again)


async def test_a_long_one_holds_its_lease_and_a_killed_one_loses_it(store, redis):
    begun = await store.begin("me", "key", "content")
    slept = asyncio.get_running_loop().time() + 2 * LEASE
    await eventually(lambda: asyncio.get_running_loop().time() > slept)
    with pytest.raises(Conflict):
        await IdempotencyStore(redis).begin("me", "key", "content")
    begun.renewing.cancel()  # as a killed process renews nothing

    async def begins():
        try:
            other = await IdempotencyStore(redis).begin("me", "key", "content")
        except Conflict:
            return False
        await store.finish(begun, 500, {}, b"too late")
        await store.finish(other, 201, {}, b"in time")
        return True

    await eventually(begins)
    assert (await store.begin("me", "key", "content")).body == b"in time"


async def test_what_is_kept_is_bounded(store, redis, monkeypatch):
    monkeypatch.setattr(idempotency, "MAX_POSTS", 5)
    for number in range(9):
        begun = await store.begin("me", str(number), "content")
        await store.finish(begun, 200, {}, b"")
    assert len(await redis.keys("llmzoo:eval-post:*")) == 5
    assert (await store.begin("me", "8", "content")).kind == "replay"
    first = await store.begin("me", "0", "content")
    assert first.kind == "new"
    await store.forget(first)
    assert all([await redis.ttl(key) > 0 for key in await redis.keys("*")])
