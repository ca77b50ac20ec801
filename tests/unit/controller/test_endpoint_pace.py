"""How many calls an endpoint gets at once and a minute, and when it is put aside."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controller.endpoints.concurrency import AdaptiveLimit, Latency
from services.controller.endpoints.gate import Gate
from services.controller.endpoints.limits import Bucket, LocalLimiter
from shared.errors import Overloaded


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


outcomes = st.lists(st.tuples(st.sampled_from(["fine", "slow", "busy"]), st.floats(0, 5)))


@given(st.integers(1, 64), outcomes)
def test_the_limit_stays_within_its_bounds(most, happened):
    limit, now = AdaptiveLimit(most), 0.0
    for what, took in happened:
        now += took
        before = limit.places
        if what == "busy":
            limit.congested(sent_at=now - took / 2, now=now)
            assert limit.places <= before
        else:
            limit.succeeded(inflight=limit.places, fine=what == "fine")
            assert limit.places - before in ({0, 1} if what == "fine" else {0})
        assert 1 <= limit.places <= most


@given(st.integers(1, 64))
def test_a_healthy_endpoint_gets_all_its_places_and_a_busy_one_comes_down_to_one(most):
    limit = AdaptiveLimit(most)
    for _ in range(most):
        limit.succeeded(inflight=limit.places, fine=True)
    assert limit.places == most

    for now in range(10):
        limit.congested(sent_at=now + 0.5, now=now + 1.0)
    assert limit.places == 1


def test_calls_that_were_under_way_together_halve_it_once():
    limit = AdaptiveLimit(64)
    for _ in range(64):
        limit.succeeded(inflight=64, fine=True)
    for n in range(20):
        limit.congested(sent_at=1.0 + n / 100, now=2.0 + n / 100)
    assert limit.places == 32


def test_after_congestion_it_grows_by_one_a_round():
    limit = AdaptiveLimit(64)
    limit.congested(sent_at=0.0, now=1.0)
    before = limit.places
    for _ in range(before + 1):
        limit.succeeded(inflight=before, fine=True)
    assert limit.places == before + 1


def test_it_does_not_grow_while_it_is_not_used():
    limit = AdaptiveLimit(64)
    before = limit.places
    for _ in range(50):
        limit.succeeded(inflight=1, fine=True)
    assert limit.places == before


def test_latency_that_grows_is_not_fine_and_one_slow_answer_is():
    latency = Latency()
    assert all(latency.fine(0.2) for _ in range(50))
    assert latency.fine(0.5)
    assert not any([latency.fine(1.0) for _ in range(10)][2:])


@given(st.randoms(use_true_random=False), st.integers(1, 5))
def test_the_gate_loses_no_place_whatever_comes_and_goes(rng: random.Random, most):
    async def play():
        limit = AdaptiveLimit(most)
        gate = Gate("ext", limit, max_waiting=8, longest_wait=60)
        inside = 0

        async def visitor():
            nonlocal inside
            await gate.enter()
            try:
                inside += 1
                # A place that was given is counted before its visitor goes on.
                assert inside <= gate.inflight
                await asyncio.sleep(0)
                if rng.random() < 0.3:
                    limit.congested(sent_at=rng.random(), now=rng.random())
            finally:
                inside -= 1
                gate.leave(0.1)

        tasks = []
        for _ in range(40):
            tasks.append(asyncio.create_task(visitor()))
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
            if rng.random() < 0.4:
                rng.choice(tasks).cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(
            each is None or isinstance(each, asyncio.CancelledError | Overloaded) for each in ended
        )
        assert (gate.inflight, gate.waiting) == (0, 0)

    asyncio.run(play())


async def test_who_waits_too_long_is_told_when_to_come_back():
    gate = Gate("ext", AdaptiveLimit(1), max_waiting=8, longest_wait=0.01)
    await gate.enter()

    with pytest.raises(Overloaded) as refused:
        await gate.enter()

    assert refused.value.retry_after > 0
    assert gate.waiting == 0
    gate.leave(1.0)
    await gate.enter()


moves = st.lists(st.tuples(st.floats(0, 30), st.integers(0, 50)), max_size=60)


@given(st.integers(1, 100), moves)
def test_a_bucket_gives_a_minutes_amount_and_what_flows_in_and_its_waits_are_honest(
    rate, given_moves
):
    now, taken = 0.0, 0.0
    bucket = Bucket(rate, now)
    for pause, amount in given_moves:
        now += pause
        wanted = min(amount, rate)
        wait = bucket.wait(wanted, now)
        if wait > 0:
            assert bucket.wait(wanted, now + wait + 1e-6) == 0
            now += 1e-6 + wait
        bucket.take(wanted, now)
        taken += wanted
        assert taken <= rate + now * rate / 60 + 1e-6


async def test_a_reservation_is_settled_once():
    clock = Clock()
    limiter = LocalLimiter("ext", None, 100, clock)
    first = await limiter.reserve(100)
    with pytest.raises(Overloaded) as refused:
        await limiter.reserve(30)
    assert refused.value.retry_after == pytest.approx(18)

    first.settle(40)
    first.settle(0)
    first.cancel()

    await limiter.reserve(60)
    with pytest.raises(Overloaded):
        await limiter.reserve(1)


async def test_more_than_a_minutes_tokens_pass_when_all_are_there_and_are_paid_for_later():
    clock = Clock()
    limiter = LocalLimiter("ext", None, 100, clock)
    await limiter.reserve(250)
    clock.now += 60
    with pytest.raises(Overloaded):
        await limiter.reserve(1)
    clock.now += 60
    await limiter.reserve(1)


async def test_a_cancelled_reservation_gives_its_request_back():
    limiter = LocalLimiter("ext", 1, None, Clock())
    (await limiter.reserve(5)).cancel()
    await limiter.reserve(5)
    with pytest.raises(Overloaded):
        await limiter.reserve(5)
