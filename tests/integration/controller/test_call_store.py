"""The call store on a real Redis: what is made once, joined, replayed, taken over and refused."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import sys

import pytest
import redis

from services.controller.call_store import connection
from services.controller.call_store.claims import Claim
from services.controller.call_store.identity import CallIdentity
from services.controller.call_store.running import MAX_CALLS_OF_KEY
from services.controller.relay.answer import Answer
from services.controller.upstream.pool import Unreachable
from shared.errors import (
    EndpointRefusesKey,
    IdempotencyKeyReused,
    Overloaded,
    Unavailable,
    UpstreamFailed,
)
from tests.fakes.call_stores import Producer, blobs_in, running_store
from tests.fakes.command_line import clean_environment
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.redis

DAY = 24 * 3600
LEASE = 1.0


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "calls"


@pytest.fixture
def patient(monkeypatch):
    """Stores made after this bear a machine that stands still: no Redis is away, no claim runs out."""
    monkeypatch.setattr(connection, "SECONDS", 10.0)
    monkeypatch.setitem(globals(), "LEASE", 30.0)


@pytest.fixture
async def store(redis_server, folder):
    async with running_store(redis_server.url, folder, lease=LEASE, drain_timeout=1) as running:
        yield running


@pytest.fixture
async def other(redis_server, folder):
    """The store of another controller on the same Redis and folder."""
    async with running_store(redis_server.url, folder, lease=LEASE, drain_timeout=1) as running:
        yield running


@pytest.fixture
def client(redis_server):
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


def repeats_of(outcome):
    return dict(outcome.answer.headers).get("x-llmzoo-call-repeated")


def told(outcome):
    return {"body": outcome.answer.body, **dict(outcome.headers())}


FRESH = {"x-llmzoo-call-store": "stored"}
AGAIN = {"x-llmzoo-call-store": "stored", "idempotency-replayed": "true"}
UNSTORED = {"x-llmzoo-call-store": "unstored"}


async def test_a_call_is_made_once_and_replayed_by_any_controller(store, other):
    produce = Producer(b'{"a": 1}')
    produce.answer = Answer(200, b'{"a": 1}', (("content-type", "text/x"), ("x-model", "m")))

    assert told(await store.ask(produce)) == {"body": b'{"a": 1}', **FRESH}
    for controller in (store, other, store):
        again = await controller.ask(produce)
        assert told(again) == {"body": b'{"a": 1}', **AGAIN}
        assert again.answer == produce.answer
    assert produce.made == 1


@pytest.mark.parametrize("size", [0, 8 * 1024, 8 * 1024 + 1, 300_000])
async def test_an_answer_is_the_same_to_the_byte_whatever_its_length(store, other, folder, size):
    body = random.Random(size).randbytes(size)
    await store.ask(Producer(body))

    assert (await other.ask(Producer(b"other"))).answer.body == body
    assert len(blobs_in(folder)) == (size > 8 * 1024)


async def test_a_long_text_lies_compressed_in_a_file_of_its_owner(store, folder, client):
    await store.ask(Producer(b"the same words " * 10_000))

    (blob,) = blobs_in(folder)
    assert blob.stat().st_size < 10_000
    assert blob.stat().st_mode & 0o777 == 0o600
    assert blob.parent.stat().st_mode & 0o077 == 0
    assert all(client.memory_usage(name) < 1_000 for name in client.keys("llmzoo:call:*"))


@pytest.mark.parametrize("change", [{"body": b"{} "}, {"path": "/v1/completions"}])
async def test_a_key_used_for_another_request_is_refused(store, other, change):
    running = Producer(held=True)
    first = asyncio.create_task(store.ask(running))
    await running.started.wait()
    for controller in (store, other):
        with pytest.raises(IdempotencyKeyReused) as refused:
            await controller.ask(Producer(), **change)
        assert (refused.value.status, refused.value.code) == (422, "idempotency_key_reused")
    running.gate.set()
    await first
    for controller in (store, other):
        with pytest.raises(IdempotencyKeyReused):
            await controller.ask(Producer(), **change)


async def test_two_principals_with_one_idempotency_key_share_nothing(store):
    await store.ask(Producer(b"mine"))
    assert (await store.ask(Producer(b"yours"), body=b"x", of="key-2")).answer.body == b"yours"


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_who_asks_meanwhile_waits_for_the_same_answer(store, other, elsewhere):
    produce = Producer(held=True)
    first = asyncio.create_task(store.ask(produce))
    await produce.started.wait()
    joiners = [
        asyncio.create_task((other if elsewhere else store).ask(Producer(b"no"))) for _ in range(5)
    ]
    # Longer than the lease, which is renewed.
    await asyncio.sleep(1.5 * LEASE)
    assert not any(task.done() for task in (first, *joiners))

    produce.gate.set()

    assert told(await first) == {"body": b"answer", **FRESH}
    for joiner in joiners:
        assert told(await joiner) == {"body": b"answer", **AGAIN}
    assert produce.made == 1


FAILURES = {"a status": None, "an exception": UpstreamFailed("broken")}


@pytest.mark.parametrize("fault", FAILURES.values(), ids=FAILURES.keys())
async def test_a_failure_is_told_to_all_here_and_is_not_stored(store, client, fault):
    produce = Producer(b"bad", status=400, held=True)
    produce.fault = fault
    asked = [asyncio.create_task(store.ask(produce)) for _ in range(3)]
    await produce.started.wait()
    produce.gate.set()

    outcomes = await asyncio.gather(*asked, return_exceptions=True)

    if fault is None:
        assert [told(outcome)["body"] for outcome in outcomes] == [b"bad"] * 3
        assert not any(outcome.stored for outcome in outcomes)
    else:
        assert outcomes == [fault] * 3
    assert client.keys("llmzoo:call:*") == []
    # The claim is gone too: the next one need not wait for its end, and may be another request.
    assert client.keys("llmzoo:call-claim:*") == []
    assert told(await store.ask(Producer(), body=b"other")) == {"body": b"answer", **FRESH}


UNMADE = [
    Overloaded("full", retry_after=1.0),
    Unavailable("nobody there"),
    EndpointRefusesKey("no"),
    Unreachable("no connection"),
]


@pytest.mark.parametrize("fault", [None, *UNMADE], ids=lambda fault: type(fault).__name__)
async def test_a_call_that_was_refused_is_not_made_twice_when_it_is_asked_again(
    store, client, fault
):
    refused = Producer(b"bad", status=429)
    refused.fault = fault
    with contextlib.suppress(type(fault or Exception())):
        await store.ask(refused)
    assert client.keys("llmzoo:call-intent:*") == []
    assert repeats_of(await store.ask(Producer())) is None


async def test_of_a_call_that_broke_off_nobody_knows_whether_it_was_made(store, other, client):
    broken = Producer()
    broken.fault = UpstreamFailed("broke off")
    for controller in (store, other):
        with pytest.raises(UpstreamFailed):
            await controller.ask(broken)
    refused = Producer(status=429)
    await store.ask(refused)
    (intent,) = client.keys("llmzoo:call-intent:*")
    assert DAY - 60 < client.ttl(intent) <= DAY
    assert [repeats_of(await each.ask(Producer())) for each in (store, other)] == ["2", "2"]
    assert client.keys("llmzoo:call-intent:*") == []


async def test_a_stop_in_the_middle_of_a_call_leaves_word_of_it(redis_server, folder, store):
    async with running_store(redis_server.url, folder, lease=LEASE, drain_timeout=0.1) as stopping:
        asked = asyncio.create_task(stopping.ask(held := Producer(held=True)))
        await held.started.wait()
    with pytest.raises(Unavailable):
        await asked
    assert repeats_of(await store.ask(Producer())) == "1"


async def test_an_answer_that_is_lost_was_made(store, folder):
    await store.ask(Producer(b"x" * 10_000))
    for blob in blobs_in(folder):
        blob.unlink()
    assert repeats_of(await store.ask(Producer(b"anew"))) == "1"


async def test_who_waits_on_another_controller_makes_a_failed_call_itself(store, other):
    failing, second = Producer(status=500, held=True), Producer(b"fine")
    first = asyncio.create_task(store.ask(failing))
    await failing.started.wait()
    joiner = asyncio.create_task(other.ask(second))
    failing.gate.set()

    assert (await first).answer.status == 500
    assert told(await joiner) == {"body": b"fine", **FRESH}
    assert told(await store.ask(failing)) == {"body": b"fine", **AGAIN}


async def test_a_call_whose_clients_left_is_finished_and_stored(store, other):
    produce = Producer(held=True)
    asked = [asyncio.create_task(store.ask(produce)) for _ in range(3)]
    await produce.started.wait()
    for task in asked:
        task.cancel()
    await asyncio.wait(asked)
    assert all(task.cancelled() for task in asked)
    assert store.metric("running") == 1

    produce.gate.set()

    assert told(await other.ask(Producer(b"no"))) == {"body": b"answer", **AGAIN}
    assert (produce.made, produce.cancelled) == (1, 0)


async def test_a_client_that_leaves_at_once_ends_nothing(store):
    produce = Producer()
    asked = asyncio.create_task(store.ask(produce))
    await asyncio.sleep(0)
    asked.cancel()

    await eventually(lambda: store.metric("calls_total", outcome="stored") == 1)
    assert produce.made == 1


async def test_waiting_for_another_controller_ends_with_its_last_client(store, other):
    produce = Producer(held=True)
    first = asyncio.create_task(store.ask(produce))
    await produce.started.wait()
    second = Producer(b"no")
    joiners = [asyncio.create_task(other.ask(second)) for _ in range(2)]
    await eventually(lambda: other.metric("running") == 1)

    joiners[0].cancel()
    await asyncio.wait(joiners, timeout=0.2)
    assert other.metric("running") == 1
    joiners[1].cancel()
    await eventually(lambda: other.metric("running") == 0)

    produce.gate.set()
    await first
    assert second.made == 0


async def test_a_holder_killed_is_followed_by_who_waits(redis_server, store, folder):
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fakes.call_holder", redis_server.url, folder, "1",
        env=clean_environment(), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"holding\n"
    second = Producer(b"second")
    joiners = [asyncio.create_task(store.ask(second)) for _ in range(3)]
    await eventually(lambda: store.metric("running") == 1)
    assert second.made == 0

    holder.kill()
    await holder.wait()

    outcomes = await asyncio.wait_for(asyncio.gather(*joiners), timeout=5)
    assert {outcome.answer.body for outcome in outcomes} == {b"second"}
    assert second.made == 1
    # Nobody knows whether the dead one's call was made, and whoever gets the answer is told so.
    again = await store.ask(Producer())
    assert [repeats_of(outcome) for outcome in (*outcomes, again)] == ["1"] * 4


async def test_a_claim_that_another_has_is_noticed(store, client):
    produce = Producer(held=True)
    first = asyncio.create_task(store.ask(produce))
    await produce.started.wait()
    (claim,) = client.keys("llmzoo:call-claim:*")
    another = client.get(claim)[:64] + b"0" * 16
    client.set(claim, another)

    await eventually(lambda: store.metric("lost_leases_total") == 1)
    produce.gate.set()

    # The call goes on: it is paid for, and nobody else has stored yet.
    outcome = await first
    assert told(outcome) == {"body": b"answer", **FRESH}
    assert repeats_of(outcome) == "1"


async def test_a_renewal_that_reaches_redis_after_the_calls_end_leaves_no_claim(store, client):
    ended = Claim(CallIdentity.of("key-1", "k-1", "/", b""))

    await store.store._claims._renew([ended])

    assert client.keys("llmzoo:call-claim:*") == []


@pytest.mark.parametrize("first_to_end", [0, 1])
async def test_of_two_holders_the_first_to_end_has_stored(
    redis_server, folder, client, first_to_end
):
    produce = [Producer(b"first", held=True), Producer(b"second", held=True)]
    async with contextlib.AsyncExitStack() as stores:
        asked = []
        for producer in produce:
            # As if cut off for longer than its lease: the claim runs out and is not renewed.
            cut_off = running_store(redis_server.url, folder, lease=60)
            store = await stores.enter_async_context(cut_off)
            asked.append(asyncio.create_task(store.ask(producer)))
            await producer.started.wait()
            client.delete(*client.keys("llmzoo:call-claim:*"))

        winner, loser = first_to_end, 1 - first_to_end
        produce[winner].gate.set()
        assert (await asked[winner]).stored
        produce[loser].gate.set()
        assert told(await asked[loser]) == {"body": produce[loser].answer.body, **UNSTORED}
        assert (await store.ask(Producer())).answer.body == produce[winner].answer.body


async def test_a_claim_survives_a_flush(store, other, client):
    produce, second = Producer(held=True), Producer(b"no")
    first = asyncio.create_task(store.ask(produce))
    await produce.started.wait()
    client.flushall()
    await eventually(lambda: client.keys("llmzoo:call-claim:*") != [])
    joiner = asyncio.create_task(other.ask(second))
    await eventually(lambda: other.metric("running") == 1)

    produce.gate.set()

    assert (await first).stored
    assert told(await joiner) == {"body": b"answer", **AGAIN}
    assert second.made == 0


async def test_what_is_stored_expires_in_a_week_or_later(store, client):
    await store.ask(Producer(b"x" * 10_000))
    await store.ask(Producer(), "k-2")

    names = client.keys("llmzoo:call:*")
    assert len(names) == 2
    assert all(7 * DAY < client.ttl(name) <= 8 * DAY for name in names)
    assert client.keys("llmzoo:call-claim:*") == []
    assert client.keys("llmzoo:call-intent:*") == []


async def test_a_key_may_hold_half_of_the_places_and_no_places_are_lost(store):
    held = Producer(held=True)

    async def take_half(principal, made):
        asked = [
            asyncio.create_task(store.ask(held, f"k-{n}", of=principal))
            for n in range(MAX_CALLS_OF_KEY)
        ]
        await eventually(lambda: held.made == made)
        with pytest.raises(Overloaded) as refused:
            await store.ask(Producer(), "one more", of=principal)
        assert refused.value.retry_after
        return asked

    asked = await take_half("key-1", MAX_CALLS_OF_KEY)
    assert (await store.ask(Producer(), "its own", of="key-2")).stored
    asked += await take_half("key-2", 2 * MAX_CALLS_OF_KEY)
    with pytest.raises(Overloaded):
        await store.ask(Producer(), of="key-3")

    # A place is given back whatever came of it.
    asked[0].cancel()
    held.fault = UpstreamFailed("broken")
    held.gate.set()
    await asyncio.gather(*asked, return_exceptions=True)
    await eventually(lambda: store.metric("running") == 0)
    # So many at once can have kept Redis waiting, which is then left alone for a second.
    numbers = itertools.count()

    async def stored():
        return (await store.ask(Producer(), f"one more {next(numbers)}")).stored

    await eventually(stored)


async def test_stopping_waits_for_running_calls_and_ends_those_that_take_too_long(
    redis_server, folder, client
):
    quick, endless = Producer(held=True), Producer(held=True)
    before = asyncio.all_tasks()
    async with running_store(redis_server.url, folder, drain_timeout=0.5) as running:
        left = asyncio.create_task(running.ask(quick, "quick"))
        await quick.started.wait()
        left.cancel()
        waiting = asyncio.create_task(running.ask(endless, "endless"))
        await endless.started.wait()
        running.store.drain()
        asyncio.get_running_loop().call_later(0.1, quick.gate.set)

    with pytest.raises(Unavailable, match="stops"):
        await waiting
    assert (quick.cancelled, endless.cancelled) == (0, 1)
    assert len(client.keys("llmzoo:call:*")) == 1
    # Another controller need not wait for the lease's end.
    assert client.keys("llmzoo:call-claim:*") == []
    assert asyncio.all_tasks() == before


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("seed", [1, 2])
async def test_random_calls_over_two_controllers_are_each_made_once(store, other, seed, client):
    rng = random.Random(seed)
    size = {n: rng.choice([0, 100, 9_000]) for n in range(150)}
    made: list[int] = []
    before = asyncio.all_tasks()

    def producer(number):
        async def produce():
            made.append(number)
            await asyncio.sleep(rng.uniform(0, 0.05))
            return Answer(200, b"%d " % number + b"x" * size[number])

        return produce

    async def one(number):
        controller, leaves = rng.choice([store, other]), rng.random() < 0.3
        await asyncio.sleep(rng.uniform(0, 0.5))
        asked = controller.ask(producer(number), f"k-{number}", b"%d" % number)
        if not leaves:
            return number, (await asked).answer.body
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asked, rng.uniform(0, 0.03))
        return number, None

    answers = await asyncio.gather(*(one(rng.randrange(150)) for _ in range(1_000)))
    await eventually(lambda: store.metric("running") == other.metric("running") == 0)

    assert sorted(made) == sorted({number for number, _ in answers})
    for number, body in answers:
        assert body in {None, b"%d " % number + b"x" * size[number]}
    # A renewal may have been under way when its call ended; what it brought back is released.
    await eventually(lambda: client.keys("llmzoo:call-claim:*") == [])
    assert asyncio.all_tasks() == before
