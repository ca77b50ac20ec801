"""Requests and tokens a minute over two controllers on one real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
import redis

from services.controller.access.lease_store import LeaseStore
from services.controller.access.limits import RateLimits
from services.controller.access.principal import ANONYMOUS, Principal
from services.controller.access.reservation import UNLIMITED
from shared.errors import RateLimited
from shared.registry import keys as names
from shared.settings import FleetSettings
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]

PRECISION = 0.02


def principal(requests=0, tokens=0):
    return Principal(
        "key_1", "a key", frozenset(), requests_per_minute=requests, tokens_per_minute=tokens
    )


@pytest.fixture
async def two(redis_server):
    """The limits of two controllers."""
    settings = FleetSettings(redis_url=redis_server.url)
    async with contextlib.AsyncExitStack() as running:
        limits = []
        for _ in range(2):
            store = LeaseStore(settings)
            running.push_async_callback(store.close)
            limits.append(RateLimits(store, lambda: 2))
            await running.enter_async_context(limits[-1].run())
        yield limits


async def admitted(limits, who, seconds, tokens=0, most=10**9):
    """Ask as fast as it goes for so long, or until refused; return how often it was let in."""
    count, started = 0, time.monotonic()
    while time.monotonic() - started < seconds and count < most:
        try:
            await limits.reserve(who, tokens)
            count += 1
        except RateLimited:
            await asyncio.sleep(0.001)
        if count % 100 == 0:
            await asyncio.sleep(0)
    return count


async def until_refused(limits, who, tokens=0):
    count = 0
    while True:
        try:
            await limits.reserve(who, tokens)
        except RateLimited as fault:
            return count, fault
        count += 1


def level(redis_server, kind="requests"):
    """Return what Redis last knew to be left."""
    with redis.Redis.from_url(redis_server.url) as client:
        kept = client.hget(names.rate_limit("key_1", kind), "level")
    return None if kept is None else float(kept)


async def test_a_small_limit_is_exact_over_both(two):
    who = principal(requests=3)
    for limits in (two[0], two[1], two[0]):
        await limits.reserve(who, 0)
    for limits in two:
        with pytest.raises(RateLimited) as refused:
            await limits.reserve(who, 0)
        assert refused.value.status == 429
        assert refused.value.code == "rate_limit_exceeded"
        assert 18 < refused.value.retry_after <= 20
        headers = refused.value.headers
        assert headers["x-ratelimit-limit-requests"] == "3"
        assert headers["x-ratelimit-remaining-requests"] == "0"
        assert 58 < float(headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 60


async def test_retry_after_is_when_it_is_let_in(two):
    who = principal(requests=240)
    _, refused = await until_refused(two[0], who)
    assert 0 < refused.retry_after <= 0.25
    await asyncio.sleep(refused.retry_after)
    await two[0].reserve(who, 0)


async def test_a_burst_over_both_is_one_minutes_worth(two):
    who, started = principal(requests=3000), time.monotonic()
    counts = await asyncio.gather(*(admitted(limits, who, 0.5) for limits in two))
    expected = 3000 + 50 * (time.monotonic() - started)
    assert sum(counts) == pytest.approx(expected, rel=PRECISION)


async def test_the_rate_over_both_is_the_limit(two):
    who = principal(requests=60_000)
    for limits in two:
        await until_refused(limits, who)
    # What one of them held when the other one was refused.
    await asyncio.gather(*(admitted(limits, who, 0.3) for limits in two))
    started = time.monotonic()
    # What comes free while this process is not run is admitted after it: a moment must not matter.
    counts = await asyncio.gather(*(admitted(limits, who, 4.0) for limits in two))
    assert sum(counts) == pytest.approx(1000 * (time.monotonic() - started), rel=PRECISION)


async def test_tokens_over_both_are_charged_as_used(two):
    """Each reserves three times what it uses; the limit is on what is used."""
    who, used = principal(tokens=60_000), 0

    async def serve(limits, until):
        nonlocal used
        while time.monotonic() < until:
            try:
                reservation = await limits.reserve(who, 300)
            except RateLimited:
                await asyncio.sleep(0.002)
                continue
            await asyncio.sleep(0)
            reservation.settle(100)
            used += 100

    started = time.monotonic()
    await asyncio.gather(*(serve(limits, started + 1.5) for limits in two for _ in range(4)))
    expected = 60_000 + 1000 * (time.monotonic() - started)
    assert used == pytest.approx(expected, rel=PRECISION)


async def test_a_lease_that_holds_admits_without_waiting(two):
    who = principal(requests=60_000, tokens=6_000_000)
    await two[0].reserve(who, 100)
    coroutine = two[0].reserve(who, 100)
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)
    done.value.value.cancel()


async def test_a_key_without_limits_costs_nothing(two, redis_server):
    redis_server.kill()
    assert await two[0].reserve(ANONYMOUS, 10**9) is UNLIMITED
    assert UNLIMITED.headers == ()
    UNLIMITED.settle(5)
    UNLIMITED.cancel()


async def test_an_idle_controller_gives_back_what_it_holds(two, redis_server):
    who = principal(requests=60_000)
    (await two[0].reserve(who, 0)).cancel()
    assert level(redis_server) < 60_000
    await eventually(lambda: level(redis_server) == 60_000)


async def test_what_is_not_used_goes_back_once(two, redis_server):
    # A rate that brings next to nothing meanwhile.
    who = principal(requests=10, tokens=10_000)

    def left():
        return level(redis_server, "tokens")

    reservation = await two[0].reserve(who, 9000)
    assert dict(reservation.headers)["x-ratelimit-limit-tokens"] == "10000"
    assert int(dict(reservation.headers)["x-ratelimit-remaining-tokens"]) == pytest.approx(
        1000, abs=100
    )
    with pytest.raises(RateLimited):
        await two[1].reserve(who, 5000)
    reservation.settle(1000)
    reservation.settle(0)
    reservation.cancel()
    await eventually(lambda: left() >= 8950)
    # The refused one has given its request back.
    second = await two[1].reserve(who, 1)
    assert dict(second.headers)["x-ratelimit-remaining-requests"] == "8"
    # Used beyond the reservation: charged.
    second.settle(8500)
    await eventually(lambda: left() < 1500)
    with pytest.raises(RateLimited):
        await two[0].reserve(who, 5000)


async def test_a_cancelled_reservation_had_never_been(two):
    who = principal(requests=1, tokens=100)
    for limits in (*two, *two):
        (await limits.reserve(who, 100)).cancel()
        await limits._settle_all()


async def test_more_than_the_limit_is_refused_for_good(two):
    with pytest.raises(RateLimited, match="max_tokens") as refused:
        await two[0].reserve(principal(requests=5, tokens=100), 101)
    assert refused.value.retry_after is None
    assert not refused.value.retryable
    assert refused.value.headers["x-ratelimit-remaining-requests"] == "5"


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_without_redis_each_has_its_share(two, redis_server, fault):
    who = principal(requests=1000)
    for _ in range(200):
        await two[0].reserve(who, 0)
    await two[1].reserve(who, 0)
    getattr(redis_server, fault)()
    started = time.monotonic()
    counts = await asyncio.gather(*(admitted(limits, who, 1.0) for limits in two))
    # Half of what was left, and of what came, for each; and what their leases held.
    left = (799 + 1000 / 60 * (time.monotonic() - started)) / 2
    assert all(left * 0.95 < count < left * 1.05 for count in counts)

    if fault == "freeze":
        redis_server.thaw()
        # What was used meanwhile is counted.
        await eventually(lambda: level(redis_server) < 100)
        count, _ = await until_refused(two[0], who)
        assert count < 100


async def test_without_redis_nobody_waits_long(two, redis_server):
    redis_server.freeze()
    started = time.monotonic()
    await two[0].reserve(principal(requests=1000), 0)
    assert time.monotonic() - started < 0.5
    started = time.monotonic()
    for _ in range(100):
        await two[0].reserve(principal(requests=1000), 0)
    assert time.monotonic() - started < 0.1


async def test_a_flush_brings_nobody_a_second_minute(two, redis_server):
    who = principal(requests=1000)
    for limits in two:
        await until_refused(limits, who)
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    counts = await asyncio.gather(*(admitted(limits, who, 0.3) for limits in two))
    assert sum(counts) < 1000 * PRECISION


async def test_whoever_leaves_while_waiting_holds_nothing(two, redis_server):
    redis_server.freeze()
    waiting = asyncio.create_task(two[0].reserve(principal(requests=5, tokens=100), 50))
    await asyncio.sleep(0)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    assert all(lease.outstanding == 0 for lease in two[0]._leases.values())
    redis_server.thaw()
    await eventually(lambda: level(redis_server) == 5)


async def test_a_changed_limit_holds_at_once(two):
    await two[0].reserve(principal(requests=1), 0)
    with pytest.raises(RateLimited):
        await two[0].reserve(principal(requests=1), 0)
    await two[0].reserve(principal(requests=0), 0)
