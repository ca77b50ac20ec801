from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.worker.engine.sequence import SamplingParams, Sequence
from services.worker.engine_client import EngineState
from services.worker.lifecycle import Lifecycle, Opener
from services.worker.metrics import WorkerMetrics
from shared.errors import GpuLost, LLMZooError, ModelNotThere, Unavailable
from shared.progress import Progress, Stage
from shared.protocol.workers import State
from shared.settings import WorkerSettings
from tests.fakes.scripted_model import MODEL, scripted_model
from tests.fakes.waiting import eventually


class Told:
    """A lifecycle, and every state it told of."""

    def __init__(self, opener: Opener, **options: Any) -> None:
        self.failures: list[LLMZooError] = []
        self.states: list[tuple[State, str, float | None]] = []
        self.lifecycle = Lifecycle(
            WorkerSettings(drain_timeout=0.1),
            opener,
            WorkerMetrics(CollectorRegistry(), MODEL),
            self.failures.append,
            **options,
        )
        self.lifecycle.changed = self._note
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def _note(self) -> None:
        now = self.lifecycle
        self.states.append((now.state, now.detail, now.progress))
        self._loop.call_soon_threadsafe(self._changed.set)

    async def reaches(self, state: State) -> None:
        async with asyncio.timeout(10):
            while self.lifecycle.state is not state:
                await self._changed.wait()
                self._changed.clear()


async def test_the_way_to_ready():
    served, _ = scripted_model()

    def opener(_settings, report):
        report(Progress(Stage.DOWNLOADING, 1, 4))
        report(Progress(Stage.CONVERTING, 1, 2))
        report(Progress(Stage.LOADING))
        return served

    told = Told(opener)
    async with told.lifecycle.running():
        with pytest.raises(Unavailable, match="starting"):
            told.lifecycle.require_served()
        await told.reaches(State.READY)
        assert told.lifecycle.require_served() is served
    assert told.states == [
        (State.DOWNLOADING, "", 0.25),
        (State.LOADING, "converting", 0.5),
        (State.WARMING, "", None),
        (State.READY, "", None),
    ]
    assert served.engine.health.state is EngineState.STOPPED


async def test_a_model_that_is_not_there():
    def opener(_settings, _report):
        raise ModelNotThere("no such model")

    told = Told(opener)
    async with told.lifecycle.running():
        await told.reaches(State.FAILED)
        assert told.lifecycle.detail == "no such model"
        with pytest.raises(Unavailable, match="failed"):
            told.lifecycle.require_served()
    assert [str(fault) for fault in told.failures] == ["no such model"]


async def test_an_engine_that_gives_no_token_when_it_warms_up():
    served, runner = scripted_model()
    runner.run = None  # not callable: what any broken runner comes to
    told = Told(lambda _settings, _report: served)
    async with told.lifecycle.running():
        await told.reaches(State.FAILED)
    assert "no token" in told.failures[0].message


async def test_a_stuck_step_is_not_ready_until_it_ends():
    served, runner = scripted_model()
    told = Told(lambda _settings, _report: served, stuck_seconds=0.05)
    async with told.lifecycle.running():
        await told.reaches(State.READY)
        runner.hold()
        stream = served.engine.submit(
            Sequence("one", 0, (1,), SamplingParams(max_tokens=1, seed=0))
        )
        await eventually(lambda: told.lifecycle.state is not State.READY)
        assert told.lifecycle.state is State.FAILED
        assert "step" in told.lifecycle.detail
        with pytest.raises(Unavailable):
            told.lifecycle.require_served()
        runner.go()
        assert [output async for output in stream][-1].finish_reason == "length"
        await served.warm_up()
        assert told.lifecycle.state is State.READY


async def test_a_restart_of_the_engine_is_told_of_at_once():
    served, runner = scripted_model()
    told = Told(lambda _settings, _report: served)
    async with told.lifecycle.running():
        await told.reaches(State.READY)
        told.states.clear()
        runner.fault = RuntimeError("step")
        stream = served.engine.submit(
            Sequence("one", 0, (1,), SamplingParams(max_tokens=2, seed=0))
        )
        assert [output async for output in stream][-1].finish_reason == "length"
        await told.reaches(State.READY)
    assert told.states == [
        (State.WARMING, "the engine is restarting: RuntimeError: step", None),
        (State.READY, "", None),
    ]
    assert told.failures == []


async def test_an_engine_that_fails_while_it_drains_ends_the_drain_only():
    served, runner = scripted_model(restart_delays=())
    told = Told(lambda _settings, _report: served)
    async with told.lifecycle.running():
        await told.reaches(State.READY)
        runner.hold()
        stream = served.engine.submit(
            Sequence("one", 0, (1,), SamplingParams(max_tokens=2, seed=0))
        )
        told.lifecycle.begin_draining()
        runner.fault = RuntimeError("step")
        runner.go()
        assert [output async for output in stream][-1].finish_reason == "error"
        assert told.lifecycle.state is State.DRAINING
    assert told.failures == []


async def test_an_engine_that_fails_for_good_ends_the_worker():
    served, runner = scripted_model(restart_delays=())
    told = Told(lambda _settings, _report: served)
    async with told.lifecycle.running():
        await told.reaches(State.READY)
        runner.fault = RuntimeError("step")
        stream = served.engine.submit(
            Sequence("one", 0, (1,), SamplingParams(max_tokens=2, seed=0))
        )
        assert [output async for output in stream][-1].finish_reason == "error"
        await told.reaches(State.FAILED)
        with pytest.raises(Unavailable, match="failed"):
            told.lifecycle.require_served()
    assert [str(fault) for fault in told.failures] == ["The engine has failed: RuntimeError: step"]


async def test_a_signal_before_the_start_drains_too():
    told = Told(lambda _settings, _report: scripted_model()[0])
    told.lifecycle.begin_draining()
    async with told.lifecycle.running():
        assert told.lifecycle.state is State.DRAINING
        with pytest.raises(Unavailable, match="draining"):
            told.lifecycle.require_served()


async def test_what_holds_it_up_is_told_until_it_goes_on():
    served, _ = scripted_model()
    free = threading.Event()

    def opener(_settings, report):
        report(Progress(Stage.DOWNLOADING, 1, 4))
        told.lifecycle.hold_up("waits for a GPU", by_others=True)
        free.wait()
        told.lifecycle.hold_up("")
        report(Progress(Stage.LOADING))
        return served

    told = Told(opener)
    async with told.lifecycle.running():
        await eventually(lambda: told.lifecycle.detail == "waits for a GPU")
        assert (told.lifecycle.state, told.lifecycle.progress) == (State.STARTING, None)
        assert told.lifecycle.waits_for_others
        free.set()
        await told.reaches(State.READY)
        assert told.lifecycle.detail == ""
        assert not told.lifecycle.waits_for_others
    assert [state for state, detail, _ in told.states if detail == "waits for a GPU"] == [
        State.STARTING
    ]


async def test_a_fault_beside_the_engine_ends_it_once():
    served, _ = scripted_model()
    told = Told(lambda _settings, _report: served)
    async with told.lifecycle.running():
        await told.reaches(State.READY)
        for text in ("the GPU is lost", "and again"):
            await asyncio.to_thread(told.lifecycle.give_up, GpuLost(text))
        await told.reaches(State.FAILED)
        assert told.lifecycle.detail == "the GPU is lost"
        with pytest.raises(Unavailable, match="failed"):
            told.lifecycle.require_served()
    assert [str(fault) for fault in told.failures] == ["the GPU is lost"]
