"""Loads: arrivals at a rate, closed loops, and prompts that are always new."""

from __future__ import annotations

import asyncio
from itertools import islice, pairwise
from random import Random

from services.cli.bench.load import ClosedLoop, PoissonArrivals
from services.cli.bench.prompts import token_prompts, word_prompts
from services.cli.bench.sample import Outcome


def test_a_seed_decides_the_arrivals():
    first, again, other = (list(PoissonArrivals(2.0, 20, seed).times()) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_arrivals_are_a_poisson_process():
    times = list(PoissonArrivals(4.0, 20_000, 0).times())
    gaps = [later - earlier for earlier, later in pairwise([0.0, *times])]
    mean = sum(gaps) / len(gaps)
    assert abs(mean - 0.25) < 0.01
    # An exponential's deviation is its mean, and 1 - 1/e of it lies below that.
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert abs(deviation - 0.25) < 0.01
    assert abs(sum(gap < 0.25 for gap in gaps) / len(gaps) - 0.632) < 0.02


async def test_arrivals_do_not_wait_for_answers():
    release, started = asyncio.Event(), []

    async def ask(sample):
        started.append(sample)
        if len(started) == 5:
            release.set()
        await release.wait()

    samples = []
    await PoissonArrivals(1000.0, 5, 0).run(ask, samples)
    assert samples == started


async def test_a_closed_loop_keeps_its_streams_busy_and_no_more():
    running, most = 0, 0

    async def ask(sample):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        sample.end(Outcome.COMPLETED, 1.0)

    samples = []
    await ClosedLoop(3, 4).run(ask, samples)
    assert most == 3
    assert [sample.outcome for sample in samples] == [Outcome.COMPLETED] * 12


def test_prompts_differ_from_their_first_word():
    prompts = list(islice(word_prompts(50, Random(1)), 128))
    assert len({prompt.split()[0] for prompt in prompts}) == 128
    assert {len(prompt.split()) for prompt in prompts} == {49}


def test_prompts_are_new_with_a_new_seed_only():
    first, again, other = (next(word_prompts(50, Random(seed))) for seed in (1, 1, 2))
    assert first == again != other


def test_a_short_prompt_is_words_alone():
    assert len(next(word_prompts(1, Random(0))).split()) == 1


def test_token_prompts_have_their_length_and_stay_in_the_vocabulary():
    prompts = list(islice(token_prompts(7, 30, Random(0)), 60))
    assert {len(prompt) for prompt in prompts} == {7}
    assert {token for prompt in prompts for token in prompt} <= set(range(30))
    assert len({prompt[0] for prompt in prompts[:30]}) == 30
