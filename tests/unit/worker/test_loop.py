import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from services.worker.engine.engine import Engine
from services.worker.engine.loop import EngineLoop
from services.worker.engine.out_of_memory import OUT_OF_MEMORY
from services.worker.engine.scheduler import Limits, Scheduler
from services.worker.engine.sequence import (
    FinishReason,
    SamplingParams,
    Sequence,
)
from services.worker.engine_client import EngineHealth, EngineState
from shared.errors import ContextTooLong, InvalidRequest, Overloaded, Unavailable
from shared.protocol.priority import Priority
from tests.fakes.faulty_runner import FaultyRunner
from tests.fakes.runner import FakeRunner, expected_output
from tests.fakes.waiting import eventually

LIMITS = Limits(max_num_seqs=2, max_waiting=1, max_model_len=1000, kv_cache_tokens=2000)


@pytest.fixture
def runner():
    return FakeRunner()


@pytest.fixture
async def loop(runner):
    loop = EngineLoop(Engine(runner, Scheduler(LIMITS)))
    loop.start(asyncio.get_running_loop())
    yield loop
    runner.may_step.set()
    await loop.stop()


def sequence(name="r", choice=0, prompt=(1, 2, 3), **params):
    return Sequence(name, choice, prompt, SamplingParams(**({"max_tokens": 5, "seed": 0} | params)))


async def read(stream):
    return [output async for output in stream]


def tokens(outputs):
    return [o.token_id for o in outputs if o.token_id is not None]


async def in_a_step(runner):
    """Return once the engine's thread stands in the middle of a step."""
    assert await asyncio.to_thread(runner.stepping.wait, 30)


async def test_streams_a_sequence_and_counts(loop):
    outputs = await read(loop.submit(sequence()))

    assert tokens(outputs) == expected_output((1, 2, 3), 5)
    assert outputs[-1].finish_reason is FinishReason.LENGTH
    stats = loop.stats()
    assert (stats.steps, stats.tokens_generated, stats.faults) == (5, 5, 0)
    assert (stats.running, stats.waiting, stats.max_num_seqs) == (0, 0, 2)
    assert (stats.kv_tokens_used, stats.kv_tokens_total) == (0, 2000)
    assert stats.tokens_per_second > 0


async def test_choices_of_a_request_stream_apart(loop):
    streams = [loop.submit(sequence(choice=choice, prompt=(choice + 1,))) for choice in range(3)]

    for choice, outputs in enumerate(await asyncio.gather(*map(read, streams))):
        assert tokens(outputs) == expected_output((choice + 1,), 5)
        assert {o.choice for o in outputs} == {choice}


class CountingLoop:
    """An event loop as far as the engine's thread sees it."""

    def __init__(self):
        self.wakeups = 0
        self._loop = asyncio.get_running_loop()

    def is_closed(self):
        return self._loop.is_closed()

    def call_soon_threadsafe(self, callback, *args):
        self.wakeups += 1
        self._loop.call_soon_threadsafe(callback, *args)


async def test_one_wakeup_of_asyncio_carries_a_whole_step(runner):
    counting = CountingLoop()
    loop = EngineLoop(Engine(runner, Scheduler(LIMITS)))
    loop.start(counting)
    runner.may_step.clear()
    streams = [loop.submit(sequence(name)) for name in "abc"]
    runner.may_step.set()

    await asyncio.gather(*map(read, streams))

    # Three sequences of five tokens, two at a time: ten or eleven steps.
    assert counting.wakeups == loop.stats().steps <= 11
    await loop.stop()


async def test_a_full_queue_refuses_with_a_time_to_retry(loop, runner):
    runner.may_step.clear()
    for name in "abc":
        loop.submit(sequence(name))

    with pytest.raises(Overloaded) as refusal:
        loop.submit(sequence("d"))

    assert 1 <= refusal.value.retry_after <= 60
    assert loop.stats().running + loop.stats().waiting == 3


async def test_a_place_is_free_again_when_a_sequence_ended(loop):
    for _ in range(3):
        streams = [loop.submit(sequence(name)) for name in "abc"]
        await asyncio.gather(*map(read, streams))

    assert loop.stats().tokens_generated == 45


async def test_refuses_at_once_what_never_fits(loop):
    with pytest.raises(ContextTooLong):
        loop.submit(sequence(prompt=(1,) * 1000))

    assert tokens(await read(loop.submit(sequence()))) == expected_output((1, 2, 3), 5)


async def test_a_sequence_that_runs_is_not_taken_twice(loop, runner):
    runner.may_step.clear()
    loop.submit(sequence("a"))

    with pytest.raises(InvalidRequest):
        loop.submit(sequence("a"))


async def test_an_abort_frees_the_slot_within_one_step(loop, runner):
    runner.may_step.clear()
    streams = {name: loop.submit(sequence(name, max_tokens=900)) for name in "ab"}
    await in_a_step(runner)
    before = loop.stats().steps
    loop.abort("a")
    runner.may_step.set()

    outputs = await read(streams["a"])

    assert outputs[-1].finish_reason is FinishReason.ABORT
    # What was stepping when the abort came ends first; the next step no longer has the row.
    assert len(outputs) <= before + 2
    assert loop.stats().running <= 1
    await read(streams["b"])


async def test_an_abort_right_after_the_submit_is_not_lost(loop):
    stream = loop.submit(sequence(max_tokens=900))
    loop.abort("r")

    assert (await read(stream))[-1].finish_reason is FinishReason.ABORT


class Watched:
    """An engine loop whose health is written down at every change."""

    def __init__(
        self, runner, *, delays=(0.0, 0.0, 0.0), free_memory=lambda: None, engine_runner=None
    ):
        self.loop = EngineLoop(
            Engine(engine_runner or runner, Scheduler(LIMITS)),
            restart_delays=delays,
            free_memory=free_memory,
        )
        self.healths: list[EngineHealth] = []
        self.changed: Callable[[], None] = lambda: None
        self.loop.start(asyncio.get_running_loop(), self._note)

    def _note(self):
        self.healths.append(self.loop.health)
        self.changed()

    @property
    def states(self):
        return [health.state for health in self.healths]


@pytest.fixture
async def watch(runner):
    watched = []

    def make(**options):
        watched.append(Watched(runner, **options))
        return watched[-1]

    yield make
    runner.may_step.set()
    for each in watched:
        await each.loop.stop()


async def failing(loop, runner, *names):
    """Submit sequences whose first decode is part of a failing step."""
    runner.may_step.clear()
    streams = [loop.submit(sequence(name)) for name in names]
    runner.decode_faults.append(RuntimeError("step"))
    runner.may_step.set()
    return streams


async def test_after_a_failed_step_what_ran_goes_on(watch, runner):
    freed = []
    watched = watch(free_memory=lambda: freed.append(True))

    for outputs in await asyncio.gather(*map(read, await failing(watched.loop, runner, *"ab"))):
        assert tokens(outputs) == expected_output((1, 2, 3), 5)

    assert tokens(await read(watched.loop.submit(sequence()))) == expected_output((1, 2, 3), 5)
    assert (watched.loop.stats().faults, watched.loop.stats().resumed) == (1, 2)
    assert watched.healths[0] == EngineHealth(EngineState.RESTARTING, "RuntimeError: step")
    assert watched.states == [EngineState.RESTARTING, EngineState.RUNNING]
    assert freed == [True]


async def test_all_survive_a_failed_step_and_a_failed_trial(watch, runner):
    watched = watch()
    streams = await failing(watched.loop, runner, *"abc")
    runner.decode_faults.append(RuntimeError("trial"))

    for outputs in await asyncio.gather(*map(read, streams)):
        assert tokens(outputs) == expected_output((1, 2, 3), 5)

    assert (watched.loop.stats().faults, watched.loop.stats().resumed) == (2, 2)
    assert watched.states == [EngineState.RESTARTING] * 2 + [EngineState.RUNNING]


async def test_what_made_room_goes_on_after_a_fault_with_what_it_had(watch, runner):
    watched = watch()
    runner.may_step.clear()
    params = SamplingParams(max_tokens=30, seed=0)
    batch = [Sequence(name, 0, (ord(name),), params, Priority.BATCH) for name in "ab"]
    streams = [watched.loop.submit(each) for each in batch]
    await in_a_step(runner)
    # In the next step b makes room for c, whose prefill fails as no prompt's fault does.
    runner.prefill_faults[(1, 2, 3)] = KeyError("no such kernel")
    streams.append(watched.loop.submit(sequence("c")))
    runner.may_step.set()

    a, b, c = await asyncio.gather(*map(read, streams))

    assert watched.loop.stats().preemptions == 1
    assert watched.loop.stats().resumed == 2
    assert tokens(a) == expected_output((ord("a"),), 30)
    assert tokens(b) == expected_output((ord("b"),), 30)
    assert tokens(c) == expected_output((1, 2, 3), 5)


async def test_requests_that_fail_every_step_fail_alone_and_the_engine_lives(watch, runner):
    faulty = FaultyRunner(runner)
    faulty.fatal = lambda each: each.prompt_ids[0] == 7
    # One restart is enough: each brings the engine nearer to the cause.
    watched = watch(engine_runner=faulty, delays=(0.0,))
    streams = [watched.loop.submit(sequence("good", max_tokens=100))]
    for name in "xyz":
        runner.may_step.clear()
        streams.append(watched.loop.submit(sequence(name, prompt=(7, ord(name)))))
        runner.may_step.set()
        assert (await read(streams[-1]))[-1].finish_reason is FinishReason.ERROR

    assert tokens(await read(streams[0])) == expected_output((1, 2, 3), 100)
    # An answer that fails ends before the trial that shows that the engine works again.
    await eventually(lambda: watched.loop.health.state is EngineState.RUNNING)
    assert watched.loop.stats().faults <= 9


async def test_an_abort_of_what_ran_is_not_lost_in_a_restart(watch, runner):
    watched = watch()
    watched.changed = lambda: watched.loop.abort("a")

    a, b = await asyncio.gather(*map(read, await failing(watched.loop, runner, *"ab")))

    assert [output.finish_reason for output in a] == [None, FinishReason.ABORT]
    assert tokens(b) == expected_output((1, 2, 3), 5)


async def test_an_abort_of_what_waits_is_not_lost_in_a_restart(watch, runner):
    watched = watch()
    watched.changed = lambda: watched.loop.abort("c")

    *_, last = await asyncio.gather(*map(read, await failing(watched.loop, runner, *"abc")))

    assert [output.finish_reason for output in last] == [FinishReason.ABORT]


async def test_an_abort_that_came_with_the_failing_step_is_not_lost(watch, runner):
    watched = watch()
    runner.may_step.clear()
    streams = [watched.loop.submit(sequence(name, max_tokens=900)) for name in "abc"]
    await in_a_step(runner)
    watched.loop.abort("c")
    runner.decode_faults += [RuntimeError("step"), RuntimeError("trial")]
    runner.may_step.set()

    *_, last = await asyncio.gather(*map(read, streams))

    assert [output.finish_reason for output in last] == [FinishReason.ABORT]


async def test_a_runner_beyond_repair_ends_every_stream_and_takes_no_more(watch, runner):
    watched = watch()
    runner.reset_faults += [RuntimeError("device lost")] * 3
    streams = await failing(watched.loop, runner, *"abc")

    for outputs in await asyncio.gather(*map(read, streams)):
        assert outputs[-1].finish_reason is FinishReason.ERROR

    with pytest.raises(Unavailable):
        watched.loop.submit(sequence())
    assert watched.states == [EngineState.RESTARTING] * 3 + [EngineState.FAILED]
    assert watched.loop.health.reason == "RuntimeError: device lost"
    assert watched.loop.stats().faults == 4
    async with asyncio.timeout(5):
        await watched.loop.drain()


async def test_faults_far_apart_do_not_add_up(watch, runner):
    watched = watch(delays=(0.0,))
    for _ in range(3):
        (outputs,) = await asyncio.gather(*map(read, await failing(watched.loop, runner, "a")))
        assert tokens(outputs) == expected_output((1, 2, 3), 5)
        assert tokens(await read(watched.loop.submit(sequence()))) == expected_output((1, 2, 3), 5)

    assert watched.states == [EngineState.RESTARTING, EngineState.RUNNING] * 3


async def test_a_prompt_that_takes_all_memory_fails_alone_and_gives_it_back(watch, runner):
    freed = []
    watched = watch(free_memory=lambda: freed.append(True))
    runner.prefill_faults[(4, 4)] = RuntimeError("DefaultCPUAllocator: can't allocate memory")
    streams = [watched.loop.submit(sequence(str(p), prompt=p)) for p in [(1, 2, 3), (4, 4)]]

    alive, failed = await asyncio.gather(*map(read, streams))

    assert tokens(alive) == expected_output((1, 2, 3), 5)
    assert failed[-1].finish_reason is FinishReason.ERROR
    assert failed[-1].error == OUT_OF_MEMORY
    assert freed == [True]
    assert watched.states == []


async def test_stopping_before_a_restart_ends_every_stream(watch, runner):
    watched = watch(delays=(3600.0,))
    restarting = asyncio.Event()
    watched.changed = restarting.set
    streams = await failing(watched.loop, runner, *"abc")
    await restarting.wait()
    assert watched.loop.health.state is EngineState.RESTARTING

    await watched.loop.stop()

    for stream in streams:
        assert (await read(stream))[-1].finish_reason is FinishReason.ABORT
    assert watched.loop.health.state is EngineState.STOPPED


async def test_an_idle_engine_sleeps(loop):
    await read(loop.submit(sequence()))
    (thread,) = [t for t in threading.enumerate() if t.name == "engine"]
    clock = time.pthread_getcpuclockid(thread.ident)
    before = time.clock_gettime(clock)

    # Not a synchronisation: nothing is to happen while this time passes.
    await asyncio.sleep(0.2)

    assert time.clock_gettime(clock) - before < 0.02
    assert loop.stats().steps == 5
    assert loop.last_step_age() == 0


async def test_a_stuck_step_shows_as_age(loop, runner):
    runner.may_step.clear()
    loop.submit(sequence())
    await in_a_step(runner)

    first = loop.last_step_age()
    # Not a synchronisation: the passing of time is what is measured.
    await asyncio.sleep(0.05)

    assert loop.last_step_age() >= first + 0.04
    assert loop.stats().last_step_age > 0


async def test_drain_takes_no_more_and_waits_for_what_runs(loop, runner):
    runner.may_step.clear()
    stream = loop.submit(sequence())
    draining = asyncio.create_task(loop.drain())
    await in_a_step(runner)

    with pytest.raises(Unavailable):
        loop.submit(sequence("late"))
    assert not draining.done()
    runner.may_step.set()
    await draining

    assert tokens(await read(stream)) == expected_output((1, 2, 3), 5)


async def test_drain_of_an_idle_engine_returns_at_once(loop):
    async with asyncio.timeout(5):
        await loop.drain()


async def test_stop_aborts_what_is_left_and_ends_the_thread(loop, runner):
    runner.may_step.clear()
    streams = [loop.submit(sequence(name, max_tokens=900)) for name in "abc"]
    await in_a_step(runner)
    stopping = asyncio.create_task(loop.stop())
    await asyncio.sleep(0)
    runner.may_step.set()
    await stopping

    for stream in streams:
        assert (await read(stream))[-1].finish_reason is FinishReason.ABORT
    assert loop.health.state is EngineState.STOPPED


async def test_stop_before_start_is_no_fault(runner):
    await EngineLoop(Engine(runner, Scheduler(LIMITS))).stop()
