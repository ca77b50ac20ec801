"""How much the call store takes: the oldest give way, accounts stay true, lost files cost a call."""

from __future__ import annotations

import asyncio
import os
import random
import time
import zlib

import pytest
import redis

from services.controller.call_store.records import ENTRY_BYTES
from services.controller.call_store.sweep import GRACE_SECONDS
from shared.registry import keys
from tests.fakes.call_stores import Producer, blobs_in, running_store

pytestmark = pytest.mark.redis

BUDGET = 64 * 1024
DAY = 24 * 3600
AGAIN = {"x-llmzoo-call-store": "stored", "idempotency-replayed": "true"}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "calls"


@pytest.fixture
async def store(redis_server, folder):
    small = {"call_store_bytes": BUDGET, "call_store_blob_bytes": BUDGET}
    async with running_store(redis_server.url, folder, **small) as running:
        yield running


@pytest.fixture
def client(redis_server):
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        yield client


def random_body(size):
    """A body that cannot be compressed."""
    return random.Random(size).randbytes(size)


async def kept(store, names):
    """Return which calls are replayed."""
    found = []
    for name in names:
        produce = Producer(status=500)
        outcome = await store.ask(produce, name)
        if not produce.made:
            assert dict(outcome.headers()) == AGAIN
            found.append(name)
    return found


async def test_the_oldest_records_give_way(store, client):
    names = [f"k-{n}" for n in range(40)]
    for name in names:
        assert (await store.ask(Producer(b"x" * 4_000), name)).stored

    assert int(client.hget(keys.CALL_TOTALS, "records")) <= BUDGET
    evicted = store.metric("evictions_total")
    assert 25 < evicted < 35
    assert await kept(store, names) == names[int(evicted) :]
    assert store.metric("bytes", kind="records") == int(client.hget(keys.CALL_TOTALS, "records"))


async def test_the_oldest_blobs_give_way_and_short_answers_stay(store, folder):
    names = [f"k-{n}" for n in range(10)]
    await store.ask(Producer(b"short"), "short")
    for name in names:
        assert (await store.ask(Producer(random_body(20_000)), name)).stored

    assert sum(file.stat().st_size for file in blobs_in(folder)) <= BUDGET
    assert len(blobs_in(folder)) == 3
    assert await kept(store, names) == names[-3:]
    assert await kept(store, ["short"]) == ["short"]


async def test_redis_takes_no_more_than_the_budget(store, client):
    for n in range(150):
        await store.ask(Producer(b"x" * (n % 7) * 100), f"k-{n}")

    assert BUDGET / ENTRY_BYTES / 2 < client.zcard(keys.CALLS) < BUDGET / ENTRY_BYTES
    names = client.keys("llmzoo:call*")
    assert sum(client.memory_usage(name, samples=0) for name in names) <= BUDGET


async def test_an_answer_over_the_budget_is_given_and_displaces_nothing(store, folder):
    await store.ask(Producer(random_body(20_000)), "other")

    outcome = await store.ask(Producer(random_body(BUDGET + 1)), "large")

    assert dict(outcome.headers()) == {"x-llmzoo-call-store": "unstored"}
    assert store.metric("unstored_total", reason="too_large") == 1
    assert await kept(store, ["other"]) == ["other"]
    assert len(blobs_in(folder)) == 1


@pytest.mark.parametrize("seed", range(3))
async def test_accounts_are_true_whatever_is_stored(store, client, folder, seed):
    rng = random.Random(seed)
    for n in range(120):
        size = rng.choice([0, 10, 3_000, 9_000, 15_000])
        await store.ask(Producer(random_body(size)), f"k-{n}", of=f"key-{n % 3}")
    # Some expire, with their accounts still there.
    gone = rng.sample(client.zrange(keys.CALLS, 0, -1), 3)
    for slot in gone:
        client.delete(keys.call(slot))
        client.zadd(keys.CALLS, {slot: (time.time() - 9 * DAY) * 1e6})
    await store.ask(Producer(), "last")

    sizes = {slot: told.split(" ") for slot, told in client.hgetall(keys.CALL_SIZES).items()}
    assert sizes.keys() == set(client.zrange(keys.CALLS, 0, -1))
    assert sizes.keys() == {name.rpartition(":")[2] for name in client.keys("llmzoo:call:*")}
    assert not sizes.keys() & set(gone)
    with_blobs = {slot for slot, (_, _, blob) in sizes.items() if blob}
    assert with_blobs == set(client.zrange(keys.CALLS_IN_BLOBS, 0, -1))
    assert {kind: int(total) for kind, total in client.hgetall(keys.CALL_TOTALS).items()} == {
        "records": sum(int(size) for size, _, _ in sizes.values()),
        "blobs": sum(int(size) for _, size, _ in sizes.values()),
    }
    named = {f"{slot}.{sizes[slot][2]}": int(sizes[slot][1]) for slot in with_blobs}
    assert {file.name: file.stat().st_size for file in blobs_in(folder)} == named


def damage(blob):
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(content)


LOSSES = {
    "damaged": damage,
    "cut short": lambda blob: os.truncate(blob, 100),
    "another one's": lambda blob: blob.write_bytes(zlib.compress(bytes(10_000))),
    "empty": lambda blob: blob.write_bytes(b""),
    "missing": lambda blob: blob.unlink(),
    "a folder": lambda blob: (blob.unlink(), blob.mkdir()),
}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES.keys())
async def test_a_blob_that_cannot_be_read_costs_a_call(store, client, folder, lose):
    await store.ask(Producer(random_body(10_000)))
    (blob,) = blobs_in(folder)
    lose(blob)

    second = Producer(random_body(12_000))
    outcomes = await asyncio.gather(*(store.ask(second) for _ in range(3)))

    assert {outcome.answer.body for outcome in outcomes} == {random_body(12_000)}
    assert dict(outcomes[0].headers()) == {"x-llmzoo-call-store": "stored"}
    assert second.made == 1
    assert store.metric("lost_answers_total") == 1
    assert dict((await store.ask(Producer())).headers()) == AGAIN
    assert client.zcard(keys.CALLS) == 1


async def test_the_same_text_again_keeps_its_blob(store, client, folder):
    produce = Producer(random_body(10_000))
    await store.ask(produce)
    client.delete(*client.keys("llmzoo:call:*"))  # as if expired: its account is still there

    assert (await store.ask(produce)).stored

    assert len(blobs_in(folder)) == 1
    assert dict((await store.ask(Producer())).headers()) == AGAIN


async def test_a_record_that_cannot_be_read_costs_a_call(store, client):
    await store.ask(Producer(b"first"))
    (name,) = client.keys("llmzoo:call:*")
    client.setrange(name, 64, "\0\0")

    assert (await store.ask(Producer(b"second"))).answer.body == b"second"
    assert (await store.ask(Producer(b"third"))).answer.body == b"second"


async def test_a_blob_on_another_host_costs_a_call(redis_server, store, tmp_path):
    await store.ask(Producer(random_body(10_000)))
    async with running_store(redis_server.url, tmp_path / "another host") as elsewhere:
        produce = Producer(random_body(11_000))

        assert (await elsewhere.ask(produce)).answer.body == random_body(11_000)
        assert (await elsewhere.ask(produce)).answer.body == random_body(11_000)
    assert produce.made == 1


async def test_a_folder_that_takes_nothing_leaves_the_answer_unstored(redis_server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    async with running_store(redis_server.url, tmp_path / "file" / "calls") as store:
        outcome = await store.ask(Producer(random_body(10_000)))

        assert outcome.answer.body == random_body(10_000)
        assert dict(outcome.headers()) == {"x-llmzoo-call-store": "unstored"}
        assert (await store.ask(Producer(b"short"))).stored


def age(file, seconds):
    at = time.time() - seconds
    os.utime(file, (at, at))


async def test_the_sweep_collects_what_no_record_names(store, client, folder):
    await store.ask(Producer(random_body(10_000)), "kept")
    await store.ask(Producer(random_body(10_001)), "forgotten")
    newest = max(blobs_in(folder), key=lambda file: file.stat().st_mtime_ns)
    begun = newest.with_name(".new-0123456789abcdef")
    begun.write_bytes(b"half")
    foreign = newest.with_name("somebody's")
    foreign.write_bytes(b"not ours")
    client.hdel(keys.CALL_SIZES, newest.name.partition(".")[0])

    await store.store.sweep.once()
    assert len(blobs_in(folder)) == 4  # young: a record may be on its way

    for file in blobs_in(folder):
        age(file, GRACE_SECONDS + 1)
    await store.store.sweep.once()
    assert foreign in blobs_in(folder)
    assert not {newest, begun} & set(blobs_in(folder))
    assert await kept(store, ["kept"]) == ["kept"]


async def test_the_sweep_waits_a_turn_after_a_flush(store, client, folder):
    await store.ask(Producer(random_body(10_000)))
    age(blobs_in(folder)[0], GRACE_SECONDS + 1)
    client.flushall()

    await store.store.sweep.once()
    await store.store.sweep.once()
    # The store's id is back, so the files are known as ours.
    assert blobs_in(folder) == []


async def test_zoos_that_share_a_folder_leave_each_others_files_alone(store, folder, client):
    await store.ask(Producer(random_body(10_000)))
    (blob,) = blobs_in(folder)
    age(blob, GRACE_SECONDS + 1)
    # Another Redis: another id, and no record of this file.
    client.flushall()
    client.set(keys.CALL_STORE_ID, "0" * 32)

    await store.store.sweep.once()
    assert blobs_in(folder) == [blob]
    age(blob, 9 * DAY)
    await store.store.sweep.once()
    assert blobs_in(folder) == []
