"""Following a run: replay from any point, live events and how late they come, heartbeats."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.evaluator.jobs.events import MAX_READERS, Events
from shared.errors import InvalidRequest, Overloaded
from tests.fakes.eval_specs import eval_spec, run_spec
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.redis


async def told(jobs, run, after=None):
    return [event async for event in jobs.store.events(run.id, after) if event is not None]


async def test_all_is_told_once_and_again_from_any_point(jobs):
    _, run = await jobs.create(eval_spec(30), run_spec())
    live = await told(jobs, run)
    assert [event.event for event in live[:1]] == ["progress"]
    assert live[-1].event == "done"
    assert live[-1].data["status"] == "completed"
    assert live[-1].data["progress"]["judged"] == 30
    items = [event.data for event in live if event.event == "item"]
    assert {each["id"] for each in items} == {f"item_{n}" for n in range(30)}
    assert {each["status"] for each in items} == {"judged"}
    assert await told(jobs, run) == live
    for place in (0, 7, len(live) - 2, len(live) - 1):
        assert await told(jobs, run, live[place].id) == live[place + 1 :]


async def test_a_resumed_run_has_one_end(jobs, calls):
    calls.gate.clear()
    _, run = await jobs.create(eval_spec(5), run_spec())
    await eventually(lambda: calls.in_flight == 5)
    await jobs.store.cancel(run)
    assert [event.event for event in await told(jobs, run)][-1] == "done"
    await jobs.store.resume(run, "all_missing")
    jobs.runner.poke()
    calls.gate.set()
    events = await told(jobs, run)
    assert [event.event for event in events].count("done") == 1
    assert events[-1].data["status"] == "completed"


async def test_an_event_comes_soon(jobs, calls):
    calls.gate.clear()
    _, run = await jobs.create(eval_spec(40), run_spec())

    async def follow():
        # The ids are Redis's wall clock.
        return [
            time.time() - int(event.id.partition("-")[0]) / 1000
            async for event in jobs.store.events(run.id, None)
            if event is not None and event.event == "item"
        ]

    following = asyncio.create_task(follow())
    await eventually(lambda: calls.in_flight == 8)
    calls.gate.set()
    lags = await following
    assert len(lags) == 40
    assert sorted(lags)[37] < 0.25


async def test_silence_is_a_heartbeat_and_readers_are_bounded(jobs, calls):
    calls.gate.clear()
    _, run = await jobs.create(eval_spec(3), run_spec())
    events = Events(jobs.redis, jobs.redis, heartbeat=0.05)
    beats = 0
    async for event in events.follow(run.id, None):
        beats += event is None
        if beats == 3:
            break
    readers = [events.follow(run.id, None) for _ in range(MAX_READERS)]
    for reader in readers:
        assert await anext(reader) is not None
    with pytest.raises(Overloaded):
        await anext(events.follow(run.id, None))
    for reader in readers:
        await reader.aclose()
    assert await anext(events.follow(run.id, None)) is not None


@pytest.mark.parametrize("after", ["", "x", "1-2-3", "-1", "9" * 30])
async def test_what_is_no_event_id_is_refused(jobs, after):
    _, run = await jobs.create(eval_spec(1), run_spec())
    with pytest.raises(InvalidRequest):
        await told(jobs, run, after)


async def test_a_run_that_is_not_there_has_no_events(jobs):
    assert [event async for event in jobs.store.events("evalrun_x", None)] == []
