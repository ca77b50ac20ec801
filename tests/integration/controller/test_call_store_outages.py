"""The call store while Redis is gone, frozen or full: local calls run, paid ones are refused."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
import redis

from services.controller.call_store import connection
from services.controller.call_store.connection import PAUSE, SECONDS
from services.controller.call_store.outcome import Source
from shared.errors import Unavailable
from tests.fakes.call_stores import Producer, running_store
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.redis

UNSTORED = {"x-llmzoo-call-store": "unstored"}
STORED = {"x-llmzoo-call-store": "stored"}


@pytest.fixture
async def store(redis_server, tmp_path):
    async with running_store(redis_server.url, tmp_path, lease=0.6, drain_timeout=1) as running:
        yield running


def fill(server):
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", 1)


OUTAGES = {
    "killed": lambda server: server.kill(),
    "frozen": lambda server: server.freeze(),
    "full": fill,
}
outages = pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES.keys())


@outages
async def test_a_local_call_runs_unstored_and_says_so(store, redis_server, outage):
    outage(redis_server)
    produce = Producer()
    started = time.monotonic()

    first = await store.ask(produce)
    second = await store.ask(produce)

    assert dict(first.headers()) == dict(second.headers()) == UNSTORED
    assert (first.answer.body, produce.made) == (b"answer", 2)
    assert time.monotonic() - started < 2
    assert store.metric("unstored_total", reason="redis") == 2


@outages
async def test_a_paid_call_is_refused_and_not_made(store, redis_server, outage):
    outage(redis_server)
    produce = Producer()

    with pytest.raises(Unavailable) as refused:
        await store.ask(produce, required=True)

    assert (refused.value.status, produce.made) == (503, 0)
    assert refused.value.retry_after


@pytest.mark.parametrize("outage", [OUTAGES["killed"], OUTAGES["frozen"]], ids=["killed", "frozen"])
async def test_an_answer_is_given_though_redis_went_meanwhile(store, redis_server, outage):
    produce = Producer(held=True)
    asked = asyncio.create_task(store.ask(produce, required=True))
    await produce.started.wait()
    outage(redis_server)
    produce.gate.set()
    started = time.monotonic()

    outcome = await asked

    assert (outcome.answer.body, dict(outcome.headers())) == (b"answer", UNSTORED)
    assert time.monotonic() - started < 3


async def test_a_full_redis_still_replays(store, redis_server):
    await store.ask(Producer())
    fill(redis_server)
    assert (await store.ask(Producer(), required=True)).source is Source.REPLAYED


async def test_an_answer_outlasts_a_short_outage(store, redis_server):
    produce = Producer(held=True)
    asked = asyncio.create_task(store.ask(produce, required=True))
    await produce.started.wait()
    redis_server.kill()
    with pytest.raises(Unavailable):
        await store.ask(Producer(), "another", required=True)
    produce.gate.set()
    await asyncio.to_thread(redis_server.start)

    assert dict((await asked).headers()) == STORED


async def test_an_answer_whose_storing_was_not_confirmed_is_stored_once(store, redis_server):
    body = random.Random(1).randbytes(10_000)
    produce = Producer(body, held=True)
    asked = asyncio.create_task(store.ask(produce, required=True))
    await produce.started.wait()
    redis_server.freeze()
    produce.gate.set()
    await asyncio.sleep(SECONDS + PAUSE / 2)  # it was sent, waited for, and will be sent again
    redis_server.thaw()

    assert dict((await asked).headers()) == STORED
    again = await store.ask(Producer())
    assert (again.answer.body, again.source) == (body, Source.REPLAYED)


async def test_a_frozen_redis_costs_many_calls_no_more_than_one(store, redis_server):
    redis_server.freeze()
    produce = Producer()
    started = time.monotonic()

    outcomes = await asyncio.gather(*(store.ask(produce, f"k-{n}") for n in range(500)))

    assert not any(outcome.stored for outcome in outcomes)
    assert time.monotonic() - started < 2


async def test_calls_are_stored_again_once_redis_is_back(store, redis_server):
    redis_server.freeze()
    await store.ask(Producer())
    redis_server.thaw()

    async def stored():
        return (await store.ask(Producer())).stored

    await eventually(stored)
    produce = Producer()
    assert (await store.ask(produce)).stored
    assert produce.made == 0


async def test_a_redis_that_was_restarted_is_used_at_once(redis_server, tmp_path, monkeypatch):
    # It bears a machine that stands still: what is late is no outage, what is broken still would be.
    monkeypatch.setattr(connection, "SECONDS", 10.0)

    def paid(name):
        return (store.ask(Producer(), f"{name}-{n}", required=True) for n in range(50))

    async with running_store(redis_server.url, tmp_path, lease=30, drain_timeout=1) as store:
        await asyncio.gather(*paid("before"))
        redis_server.kill()
        await asyncio.to_thread(redis_server.start)

        # Connections that broke meanwhile are no outage.
        assert all(outcome.stored for outcome in await asyncio.gather(*paid("after")))


async def test_who_joins_an_unstored_call_waits_for_it(store, redis_server):
    redis_server.kill()
    produce = Producer(held=True)
    asked = [asyncio.create_task(store.ask(produce)) for _ in range(3)]
    await produce.started.wait()
    produce.gate.set()

    outcomes = await asyncio.gather(*asked)

    assert produce.made == 1
    assert [outcome.answer.body for outcome in outcomes] == [b"answer"] * 3
    assert not any(outcome.stored for outcome in outcomes)


async def test_who_waits_for_another_controller_does_not_wait_for_redis(
    store, redis_server, tmp_path
):
    async with running_store(redis_server.url, tmp_path, lease=0.6) as other:
        held = Producer(held=True)
        first = asyncio.create_task(store.ask(held))
        await held.started.wait()
        local = asyncio.create_task(other.ask(Producer(b"own")))
        await eventually(lambda: other.metric("running") == 1)
        redis_server.freeze()

        outcome = await asyncio.wait_for(local, timeout=3)

        assert (outcome.answer.body, outcome.stored) == (b"own", False)
        redis_server.thaw()
        held.gate.set()
        assert (await first).answer.body == b"answer"
