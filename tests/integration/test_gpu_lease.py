"""Leases of GPUs in a real Redis: who gets which, who keeps it, and when it comes free."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from prometheus_client import CollectorRegistry

from shared.registry import GpuLease, Heartbeat, HeartbeatMetrics, keys
from shared.registry.record import own_record
from shared.settings import FleetSettings
from tests.fakes.waiting import block_until
from tests.integration.conftest import RedisServer, fleet_settings

pytestmark = pytest.mark.redis

PLACES = [("GPU-a", 0), ("GPU-b", 0)]


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


class Worker:
    """A worker's lease, and what it was told."""

    def __init__(self, name: str, client: redis.Redis, ttl: float = 60) -> None:
        self.lease = GpuLease(name, ttl)
        self.waits: list[list[str]] = []
        self.lost: list[tuple[str, str]] = []
        self.lease.waits = self.waits.append
        self.lease.lost = lambda gpu, worker: self.lost.append((gpu, worker))
        self._client = client

    def asks(self, count: int = 1, places: list[tuple[str, int]] = PLACES) -> Worker:
        self.lease.ask(places, count)
        return self.beats()

    def beats(self) -> Worker:
        self.lease.beat(self._client)
        return self

    @property
    def gpus(self) -> tuple[str, ...]:
        return self.lease.gpus


def expire(client: redis.Redis, gpu: str, place: int = 0) -> None:
    client.delete(keys.gpu_lease(gpu, place))


def test_each_worker_gets_a_gpu_and_one_too_many_hears_who_has_them(client):
    one, two, three = (Worker(name, client).asks() for name in ("one", "two", "three"))

    assert (one.gpus, two.gpus, three.gpus) == (("GPU-a",), ("GPU-b",), ())
    assert three.waits == [["one", "two"]]
    two.lease.release(client)
    assert two.gpus == ()
    assert three.beats().gpus == ("GPU-b",)
    assert three.lease.wait() == ("GPU-b",)


def test_several_gpus_are_leased_together_or_not_at_all(client):
    one = Worker("one", client).asks()
    both = Worker("both", client).asks(2)

    assert both.gpus == ()
    assert both.waits == [["one"]]
    # What it did not get it does not keep from others.
    assert Worker("two", client).asks().gpus == ("GPU-b",)
    client.flushall()
    assert Worker("all", client).asks(2).gpus == ("GPU-a", "GPU-b")
    assert one.gpus == ("GPU-a",)


def test_a_shared_gpu_has_places_and_one_worker_takes_one_of_them(client):
    places = [*PLACES, ("GPU-a", 1), ("GPU-b", 1)]
    workers = [Worker(str(number), client).asks(places=places) for number in range(5)]

    assert [worker.gpus for worker in workers] == [
        ("GPU-a",),
        ("GPU-b",),
        ("GPU-a",),
        ("GPU-b",),
        (),
    ]
    client.flushall()
    assert Worker("both", client).asks(2, places).gpus == ("GPU-a", "GPU-b")


def test_a_lease_ends_with_its_time_and_lasts_while_it_is_renewed(client):
    dead, lives = Worker("dead", client, ttl=0.2).asks(), Worker("lives", client, ttl=0.2).asks()
    waits = Worker("waits", client).asks()

    def taken() -> bool:
        lives.beats()
        return bool(waits.beats().gpus)

    block_until(taken)
    assert waits.gpus == dead.gpus
    assert lives.lost == []


def test_a_restarted_worker_has_its_gpu_again_at_once(client):
    Worker("worker-host-8010", client).asks()
    Worker("other", client).asks()

    again = Worker("worker-host-8010", client).asks()

    assert again.gpus == ("GPU-a",)


def test_after_a_flush_the_holder_has_it_again(client):
    one = Worker("one", client).asks()
    client.flushall()
    assert one.beats().lost == []
    assert Worker("two", client).asks(places=PLACES[:1]).gpus == ()


def test_of_two_holders_the_one_that_had_it_first_keeps_it(client):
    one = Worker("one", client).asks(2)
    client.flushall()
    two = Worker("two", client).asks()
    assert two.gpus == ("GPU-a",)

    one.beats()
    two.beats()

    assert one.lost == []
    assert two.lost == [("GPU-a", "one")]
    assert two.beats().gpus == ()
    # What the loser gives back is not the winner's.
    assert Worker("three", client).asks().gpus == ()


def test_a_late_holder_releases_only_its_own(client):
    one = Worker("one", client).asks()
    expire(client, "GPU-a")
    two = Worker("two", client).asks()

    one.lease.release(client)

    assert two.gpus == ("GPU-a",)
    assert Worker("three", client).asks(places=PLACES[:1]).gpus == ()


def test_what_is_not_wanted_any_more_is_given_back(client):
    one = Worker("one", client).asks()
    one.lease.drop()
    assert one.beats().gpus == ()
    assert client.keys("*") == []


def test_an_answer_that_was_lost_costs_nothing(client):
    lost = GpuLease("one", 60)
    lost.ask(PLACES, 1)
    lost.beat(client)
    # As if the first answer had not come: it asks again.
    lost._held = ()
    lost.beat(client)
    assert lost.gpus == ("GPU-a",)
    assert len(client.keys("*")) == 1


def test_the_heartbeat_takes_renews_and_gives_back(redis_server, client):
    told = FleetSettings(**fleet_settings(redis_server.url))
    worker = Worker("one", client, ttl=1.0)
    record = own_record("worker", "http://127.0.0.1:8010")
    metrics = HeartbeatMetrics(CollectorRegistry())
    heartbeat = Heartbeat(told, lambda: record, metrics, worker.lease)
    heartbeat.start()
    try:
        worker.lease.ask(PLACES, 1)
        heartbeat.poke()
        assert worker.lease.wait() == ("GPU-a",)
        key = keys.gpu_lease("GPU-a", 0)
        client.delete(key)
        block_until(lambda: bool(client.exists(key)))
        redis_server.kill()
        redis_server.start()  # empty
        assert worker.gpus == ("GPU-a",)
        block_until(lambda: bool(client.exists(key)))
    finally:
        heartbeat.stop()
    assert client.exists(key) == 0
    assert worker.lost == []


class Fleet(RuleBasedStateMachine):
    """Any order of what can happen to six workers on three GPUs of two places."""

    client: redis.Redis

    @initialize(counts=st.lists(st.integers(1, 3), min_size=2, max_size=6))
    def start(self, counts: list[int]) -> None:
        self.client.flushall()
        places = [(gpu, place) for place in range(2) for gpu in ("a", "b", "c")]
        self.counts = counts
        self.workers = [Worker(f"worker-{number}", self.client) for number in range(len(counts))]
        for worker, count in zip(self.workers, counts, strict=True):
            worker.lease.ask(places, count)

    @rule(number=st.integers(0, 5))
    def beat(self, number: int) -> None:
        if number < len(self.workers):
            self.workers[number].beats()

    @rule(number=st.integers(0, 5))
    def stop(self, number: int) -> None:
        if number < len(self.workers):
            self.workers[number].lease.release(self.client)
            self.workers[number].lease.drop()

    @rule(gpu=st.sampled_from("abc"), place=st.integers(0, 1))
    def forget(self, gpu: str, place: int) -> None:
        expire(self.client, gpu, place)

    @rule()
    def flush(self) -> None:
        self.client.flushall()

    @invariant()
    def all_or_none_on_different_gpus(self) -> None:
        for worker, count in zip(self.workers, self.counts, strict=True):
            assert len(set(worker.gpus)) == len(worker.gpus)
            assert len(worker.gpus) in {0, count}

    @rule()
    def settle(self) -> None:
        """Once all have beaten twice, each place has one holder, and no older one was driven out."""
        before = {worker: worker.lease._since for worker in self.workers if worker.gpus}
        for _ in range(2):
            for worker in self.workers:
                worker.beats()
        held = [place for worker in self.workers for place in worker.lease._held]
        assert len(held) == len(set(held))
        assert {name.decode() for name in self.client.keys("*")} == {
            keys.gpu_lease(*place) for place in held
        }
        if before:
            first = min(before.values())
            assert any(worker.gpus for worker, since in before.items() if since == first)


def test_any_order_of_events(client):
    class Here(Fleet):
        pass

    Here.client = client
    case = Here.TestCase
    case.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
    case().runTest()
