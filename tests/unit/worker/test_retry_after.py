"""When there is a place again: from the rate that was measured, on a clock that the runner moves."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable

import pytest

from services.worker.engine.engine import Engine
from services.worker.engine.loop import EngineLoop
from services.worker.engine.scheduler import Limits, Scheduler
from services.worker.engine.sequence import SamplingParams, Sequence
from services.worker.engine.token_rate import TokenRate
from shared.errors import Overloaded
from tests.fakes.runner import FakeRunner

SLOTS, WAITING = 4, 3
LIMITS = Limits(
    max_num_seqs=SLOTS, max_waiting=WAITING, max_model_len=1000, kv_cache_tokens=SLOTS * 1000
)


class ClockedRunner(FakeRunner):
    """Each call takes so many seconds of its clock; it stops before the call that it is told."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.now = 1000.0
        self.released_at: list[float] = []
        self.stop_before = 0
        self.stopped = asyncio.Event()
        self._seconds = seconds
        self._calls = 0
        self._loop = asyncio.get_running_loop()

    def clock(self) -> float:
        return self.now

    def release(self, sequence: Sequence) -> None:
        super().release(sequence)
        self.released_at.append(self.now)

    def _gate(self) -> None:
        self._calls += 1
        if self._calls == self.stop_before:
            self.may_step.clear()
            self._loop.call_soon_threadsafe(self.stopped.set)
        super()._gate()
        self.now += self._seconds


Start = Callable[..., tuple[EngineLoop, ClockedRunner]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    running: list[tuple[EngineLoop, ClockedRunner]] = []

    def make(seconds: float) -> tuple[EngineLoop, ClockedRunner]:
        runner = ClockedRunner(seconds)
        loop = EngineLoop(Engine(runner, Scheduler(LIMITS)), clock=runner.clock)
        loop.start(asyncio.get_running_loop())
        running.append((loop, runner))
        return running[-1]

    yield make
    for loop, runner in running:
        runner.may_step.set()
        await loop.stop()


def sequence(name: object, max_tokens: int) -> Sequence:
    return Sequence(str(name), 0, (1, 2), SamplingParams(max_tokens=max_tokens, seed=0))


async def read(stream) -> None:
    async for _ in stream:
        pass


def refused(loop: EngineLoop) -> float:
    with pytest.raises(Overloaded) as refusal:
        loop.submit(sequence("one too many", 10))
    assert refusal.value.retry_after is not None
    return refusal.value.retry_after


async def full(loop: EngineLoop, runner: ClockedRunner, lengths: list[int], calls: int):
    """Return the readers of sequences of these lengths, once the engine has made so many calls."""
    runner.stop_before = calls
    readers = [
        asyncio.create_task(read(loop.submit(sequence(i, length))))
        for i, length in enumerate(lengths)
    ]
    await runner.stopped.wait()
    return readers


@pytest.mark.parametrize("seed", range(20))
async def test_a_place_is_free_by_then_and_not_everything_has_ended_long_before(start, seed):
    rng = random.Random(seed)
    loop, runner = start(rng.uniform(0.01, 0.2))
    lengths = [rng.randint(80, 300) for _ in range(SLOTS + WAITING)]
    readers = await full(loop, runner, lengths, calls=rng.randint(30, 80))

    told_at, seconds = runner.now, refused(loop)
    runner.may_step.set()
    await asyncio.gather(*readers)

    assert seconds == 60 or runner.released_at[0] <= told_at + seconds
    assert seconds == 1 or told_at + seconds <= runner.released_at[-1]


async def test_the_rate_is_that_of_all_rows_together_and_not_the_best_step(start):
    loop, runner = start(0.1)
    readers = await full(loop, runner, [300] * (SLOTS + WAITING), calls=200)

    # Four tokens in each tenth of a second, once all rows decode; a prefill gives one in as much.
    assert 38 < loop.stats().tokens_per_second < 40
    assert len(readers) == SLOTS + WAITING


async def test_each_who_is_refused_gets_a_place_of_his_own_and_nobody_waits_for_longer_than_a_minute(
    start,
):
    loop, runner = start(0.1)
    await full(loop, runner, [300] * (SLOTS + WAITING), calls=200)

    told = [refused(loop) for _ in range(20)]

    # About 100 tokens are left in each row, 40 of all rows a second.
    assert 9 < told[0] < 12
    steps = [later - earlier for earlier, later in itertools.pairwise(told)]
    assert all(step >= 0 for step in steps)
    # 400 tokens in the slots and 900 in the queue, over seven sequences and 40 a second.
    assert steps[5] == pytest.approx(4.6, abs=0.5)
    assert told[-1] == 60


async def test_answers_are_expected_to_be_as_long_as_others_were(start):
    loop, runner = start(0.1)
    await read(loop.submit(sequence("before", 20)))

    await full(loop, runner, [900] * (SLOTS + WAITING), calls=30)

    # 20 tokens each, less those that are there already; 900 of each row would take ninety seconds.
    assert refused(loop) < 4


async def test_nobody_is_told_to_come_back_at_once(start):
    loop, runner = start(0.0001)
    await full(loop, runner, [300] * (SLOTS + WAITING), calls=200)
    assert refused(loop) == 1


def test_a_step_that_only_prefills_lowers_the_rate():
    rate = TokenRate()
    for _ in range(100):
        rate.count_step(16, 0.01)
        rate.count_step(0, 0.09)
    assert rate.tokens_per_second == pytest.approx(160, rel=0.02)


def test_prompts_have_a_rate_of_their_own():
    rate = TokenRate()
    for _ in range(100):
        rate.count_step(16, 0.1, 500)
        rate.count_step(16, 0.1)
    assert rate.prefill_tokens_per_second == pytest.approx(5000, rel=0.02)
    assert rate.tokens_per_second == pytest.approx(160, rel=0.02)


def test_the_rate_follows_the_load():
    rate = TokenRate()
    for _ in range(1000):
        rate.count_step(64, 0.1)
    for _ in range(300):
        rate.count_step(1, 0.1)
    assert rate.tokens_per_second < 30


def test_what_is_left_of_an_answer_is_never_nothing_and_never_more_than_it_may_have():
    rate = TokenRate()
    assert rate.tokens_left(0, 500) == 500
    rate.count_end(100)
    assert rate.tokens_left(0, 500) == 100
    assert rate.tokens_left(90, 5) == 5
    assert rate.tokens_left(250, 500) == 1
