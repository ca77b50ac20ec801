"""What each policy chooses, over workers as the test describes them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controller.routing.ask import BLOCK_TOKENS, Ask, ask_of
from services.controller.routing.policies import (
    POLICIES,
    cost,
    is_worth_waiting,
    least_cost,
    lottery,
    power_of_two,
    shortest_queue,
)


@dataclass(frozen=True)
class Worker:
    id: str = "w"
    speed: float = 1.0
    occupied: int = 0
    prefill_backlog: float = 0.0
    decode_backlog: float = 0.0
    prefill_rate: float = 8000.0
    decode_rate: float = 1000.0
    kv_use: float = 0.0
    chosen_at: float = 0.0
    blocks: tuple[int, ...] = field(default=())

    def held_blocks(self, chain):
        same = [a == b for a, b in zip(chain, self.blocks, strict=False)]
        return same.index(False) if False in same else len(same)


positive = st.floats(0.1, 1e5)
workers = st.lists(
    st.builds(
        Worker,
        id=st.uuids().map(str),
        speed=st.sampled_from([0.0, 0.5, 1.0, 4.0]),
        occupied=st.integers(0, 50),
        prefill_backlog=st.floats(0, 1e6),
        decode_backlog=st.floats(0, 1e6),
        prefill_rate=positive,
        decode_rate=positive,
        kv_use=st.floats(0, 1),
        blocks=st.sampled_from([(), (1,), (1, 2), (1, 2, 3)]),
    ),
    min_size=1,
    max_size=6,
)
asks = st.builds(
    Ask,
    prompt_tokens=st.integers(0, 100_000),
    answer_tokens=st.integers(1, 4096),
    chain=st.sampled_from([(), (1, 2), (1, 2, 3, 4)]),
)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@given(workers, asks, st.integers())
def test_every_policy_chooses_one_that_is_there(policy, there, ask, seed):
    assert policy(there, ask, Random(seed)) in there


@given(workers, asks, st.integers())
def test_nobody_costs_less_than_the_chosen(there, ask, seed):
    chosen = least_cost(there, ask, Random(seed))
    assert cost(chosen, ask) <= min(cost(worker, ask) for worker in there) + 0.001


@given(workers, asks)
def test_more_work_never_makes_a_worker_cheaper(there, ask):
    for worker in there:
        before = cost(worker, ask)
        assert cost(replace(worker, prefill_backlog=worker.prefill_backlog + 100), ask) > before
        assert cost(replace(worker, decode_backlog=worker.decode_backlog + 100), ask) > before
        assert cost(replace(worker, kv_use=min(1.0, worker.kv_use + 0.1)), ask) >= before
        assert cost(replace(worker, blocks=()), ask) >= before


def test_the_lottery_is_fair_to_speed_and_never_draws_speed_zero():
    speeds = [1.0, 2.0, 0.0, 5.0]
    there = [Worker(str(n), speed) for n, speed in enumerate(speeds)]
    rng, draws = Random(7), 10_000
    counts = Counter(lottery(there, Ask(), rng).id for _ in range(draws))
    expected = {str(n): draws * s / sum(speeds) for n, s in enumerate(speeds)}
    statistic = sum((counts[n] - e) ** 2 / e for n, e in expected.items() if e)
    # The 99.9 % point of the chi-square distribution with two degrees of freedom.
    assert statistic < 13.8
    assert counts["2"] == 0


@pytest.mark.parametrize("policy", [lottery, shortest_queue, power_of_two])
def test_workers_of_speed_zero_alone_are_used_all_the_same(policy):
    there = [Worker("a", 0.0), Worker("b", 0.0)]
    rng = Random(3)
    assert {policy(there, Ask(), rng).id for _ in range(50)} == {"a", "b"}


def test_the_shortest_queue_is_shortest_for_its_speed():
    there = [Worker("slow", 1.0, occupied=3), Worker("fast", 4.0, occupied=8)]
    assert shortest_queue(there, Ask(), Random(0)).id == "fast"
    assert shortest_queue([*there, Worker("off", 0.0)], Ask(), Random(0)).id == "fast"


def test_equals_take_turns_whoever_was_chosen_longest_ago_is_next():
    there = [Worker("a", chosen_at=3.0), Worker("b", chosen_at=1.0), Worker("c", chosen_at=2.0)]
    for policy in (least_cost, shortest_queue):
        assert policy(there, Ask(), Random(0)).id == "b"
    assert shortest_queue([*there, Worker("d", occupied=1)], Ask(), Random(0)).id == "b"


def test_equals_that_were_never_chosen_are_told_apart_by_chance():
    there = [Worker(name) for name in "abc"]
    for policy in (least_cost, shortest_queue, power_of_two):
        rng = Random(1)
        counts = Counter(policy(there, Ask(), rng).id for _ in range(3000))
        assert all(900 < counts[name] < 1100 for name in "abc")


def test_two_choices_never_take_the_busiest_of_three():
    there = [Worker("a", occupied=1), Worker("b", occupied=2), Worker("c", occupied=9)]
    rng = Random(2)
    assert {power_of_two(there, Ask(), rng).id for _ in range(200)} == {"a", "b"}


def test_a_held_prefix_draws_a_request_until_waiting_costs_more():
    ask = Ask(prompt_tokens=6400, chain=tuple(range(1, 101)))
    holds = Worker("holds", blocks=ask.chain)
    idle = Worker("idle")
    assert least_cost([holds, idle], ask, Random(0)) is holds
    # 6,400 tokens take 0.8 s to prefill, which counts twice; less work is no reason to leave.
    nearly = replace(holds, decode_backlog=1590.0)
    assert least_cost([nearly, idle], ask, Random(0)) is nearly
    busy = replace(holds, decode_backlog=1610.0)
    assert least_cost([busy, idle], ask, Random(0)) is idle


def test_a_session_is_a_bonus_and_no_pin():
    ask = Ask(prompt_tokens=6400, last_worker="last")
    last, other = Worker("last"), Worker("other")
    assert least_cost([last, other], ask, Random(0)) is last
    busy = replace(last, decode_backlog=1000.0)
    assert least_cost([busy, other], ask, Random(0)) is other
    # What is known to be held counts for more than the guess.
    holds = Worker("holds", blocks=tuple(range(80)))
    assert least_cost([last, holds], replace(ask, chain=tuple(range(100))), Random(0)) is holds


def test_a_full_worker_is_waited_for_while_its_turn_comes_sooner_than_the_prompt_is_computed():
    ask = Ask(prompt_tokens=6400, chain=tuple(range(1, 101)))
    idle = Worker("idle")
    holds = Worker("holds", blocks=ask.chain, decode_backlog=1000.0)
    assert is_worth_waiting(idle, [holds], ask, 0.0)
    assert not is_worth_waiting(idle, [replace(holds, decode_backlog=1700.0)], ask, 0.0)
    assert not is_worth_waiting(idle, [Worker("full", decode_backlog=10.0)], ask, 0.0)
    # But not for longer than was to be won.
    assert is_worth_waiting(idle, [holds], ask, 1.5)
    assert not is_worth_waiting(idle, [holds], ask, 1.7)


def test_a_full_cache_is_a_wall():
    full, busy = Worker("full", kv_use=1.0), Worker("busy", decode_backlog=1500.0)
    assert least_cost([full, busy], Ask(), Random(0)) is busy
    assert cost(Worker(kv_use=0.5), Ask()) < 0.03


@pytest.mark.parametrize(
    ("request_", "answer", "sequences"),
    [
        ({}, 256, 1),
        ({"max_tokens": 20}, 20, 1),
        ({"max_tokens": 20, "n": 4}, 80, 4),
        ({"max_completion_tokens": 30, "max_tokens": 20}, 30, 1),
        ({"max_tokens": 10**9, "n": 10**9}, 4096 * 1024, 1024),
        ({"max_tokens": "x", "n": None}, 256, 1),
        ({"max_tokens": -1, "n": -3}, 256, 1),
        ({"max_tokens": True, "n": 1.5}, 1, 1),
    ],
)
def test_an_ask_is_estimated_and_never_refused(request_, answer, sequences):
    ask = ask_of(request_, 4000)
    assert (ask.prompt_tokens, ask.answer_tokens, ask.sequences) == (1000, answer, sequences)
    assert ask.tokens == 1000 + answer
    assert BLOCK_TOKENS == 64
