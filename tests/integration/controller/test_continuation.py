"""Whatever a network does to answers on their way from workers, the client gets each one whole.

The oracle is what an undisturbed run says, token by token.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tests.fakes.mixed_requests import KINDS, mix, request
from tests.fakes.mock.faults import Fault
from tests.fakes.proxied_zoo import ROOMY, proxied_zoo
from tests.fakes.returning_client import Told
from tests.fakes.transcripts import expected
from tests.fakes.waiting import eventually
from tests.fakes.wire_faults import (
    GARBAGE,
    corrupt,
    cut,
    dribble,
    error_frame,
    half_close,
    inject,
    reset,
    slow_accept,
    stall,
)

pytestmark = [pytest.mark.redis]

# The head and the start frame are less than that; a long answer is more than its double.
START_BYTES, MOST_BYTES = 400, 9_000
SILENCE = 0.4
SLOW = replace(ROOMY, step_seconds=0.02)
AT = st.integers(0, MOST_BYTES)
CONTINUED = st.one_of(
    AT.map(cut),
    AT.map(reset),
    AT.map(half_close),
    AT.map(stall),
    AT.map(dribble),
    AT.map(corrupt),
    st.builds(inject, AT, st.sampled_from(GARBAGE)),
)
HARMLESS = st.just(slow_accept(0.05))


@pytest.fixture
def zoo(redis_server):
    """A function that starts a zoo with a plan."""
    with tempfile.TemporaryDirectory() as folder:
        yield lambda *plan, **options: proxied_zoo(
            redis_server.url, Path(folder), plan=plan, upstream_timeout=SILENCE, **options
        )


def assert_whole(told: Told) -> None:
    assert told.status == 200, told.body
    assert told.losses == 0
    assert told.transcript == expected(told.asking, told.transcript.answer_id)


@given(
    number=st.integers(0, KINDS - 1),
    stream=st.booleans(),
    plan=st.lists(st.one_of(CONTINUED, HARMLESS), max_size=3),
)
@example(number=0, stream=True, plan=[cut(START_BYTES + 1)])
@example(number=1, stream=True, plan=[stall(4_000), reset(4_000)])
@example(number=2, stream=False, plan=[half_close(900), inject(0)])
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_a_client_sees_nothing_of_a_sequence_of_faults(zoo, number, stream, plan):
    # Before anything is known of an answer there are three tries.
    assume(sum(fault.at < START_BYTES for fault in plan if fault.at or not fault.seconds) <= 2)
    async with zoo(*plan) as running:
        told = await running.client().ask(request(number, tokens=30, stream=stream))
        assert_whole(told)


KINDS_OF_FAULT = {
    "cut": cut,
    "reset": reset,
    "half-close": half_close,
    "stall": stall,
    "no frame": inject,
    "no HTTP": corrupt,
    "error frame": error_frame,
}


@pytest.mark.parametrize("fault", KINDS_OF_FAULT.values(), ids=KINDS_OF_FAULT)
async def test_each_fault_in_the_middle_of_each_kind_of_answer(zoo, fault):
    async with zoo() as running:
        for number in range(KINDS):
            # Silence takes its time.
            for stream in (True, False) if fault is not stall else (number % 2 == 0,):
                running.plan[:] = [fault(START_BYTES + 150)]
                met = running.met()
                told = await running.client().ask(request(number, tokens=30, stream=stream))
                assert_whole(told)
                assert running.met() == met + 1
        assert running.count("refused_400") == 0
        await running.idle()


async def test_many_at_once_meet_many_faults(zoo):
    chosen = random.Random(6)
    makers = [cut, reset, half_close, inject, corrupt]
    plan = [chosen.choice(makers)(chosen.randrange(START_BYTES, MOST_BYTES)) for _ in range(24)]
    async with zoo(*plan) as running:
        answers = await running.client().ask_all([Told(asking) for asking in mix(64, tokens=30)])
        for told in answers:
            assert_whole(told)
        assert running.met() > 12
        await running.idle()


async def test_a_second_fault_of_the_engine_is_told_in_one_event(zoo):
    """A request that fails engines is not sent to each of them in turn."""
    async with zoo(error_frame(2_000), error_frame(2_000), error_frame(2_000)) as running:
        told = await running.client().ask(request(0, tokens=60))
        transcript = told.transcript
        assert transcript.error is not None
        assert not transcript.done
        assert transcript.broken_rules == []
        wanted = expected(told.asking, transcript.answer_id).choices[0].text
        assert wanted.startswith(transcript.choices[0].text)
        assert len(running.plan) == 1
        await running.idle()


@pytest.mark.parametrize("stream", [True, False])
async def test_without_another_worker_there_is_one_error_and_no_done(zoo, stream):
    async with zoo(workers=1, costs=SLOW, move_timeout=0.3) as running:
        told = Told(request(0, tokens=100, stream=stream))
        asking = asyncio.create_task(running.client().ask_all([told]))
        await eventually(lambda: running.count("admitted") == 1)
        await running.proxies[0].down()
        await asking
        assert told.transcript.error is not None
        assert told.transcript.error["type"] == "server_error"
        assert not told.transcript.done
        assert told.status == 200 if stream else told.status in {502, 503}
        assert told.losses == 0
        await running.controller.idle()


async def test_all_workers_may_go_as_long_as_one_comes_back(zoo):
    async with zoo(costs=SLOW, move_timeout=20) as running:
        answers = [Told(asking) for asking in mix(16, tokens=40)]
        asking = asyncio.create_task(running.client().ask_all(answers))
        await eventually(lambda: all(a.log.events for a in answers if a.asking.stream))
        for proxy in running.proxies:
            await proxy.down()
        await eventually(lambda: running.count("orphaned") >= 12)
        assert await running.controller.metric("llmzoo_inflight_requests") == 16
        await running.proxies[1].up()
        await asking
        for told in answers:
            assert_whole(told)


async def test_a_late_abort_does_not_end_what_goes_on_at_the_same_worker(zoo):
    """What is left behind is aborted, and where there is one worker it goes on beside that."""
    async with zoo(inject(4_000), workers=1, costs=SLOW) as running:
        told = Told(request(0, tokens=60))
        asking = asyncio.create_task(running.client().ask_all([told]))
        await eventually(lambda: running.count("admitted") == 1)
        running.plan.append(slow_accept(0.3))
        await asking
        assert_whole(told)
        await running.idle()


async def test_a_worker_that_stops_hands_its_answers_back(zoo):
    async with zoo(costs=SLOW) as running:
        answers = [Told(asking) for asking in mix(16, tokens=40)]
        asking = asyncio.create_task(running.client().ask_all(answers))
        await eventually(lambda: all(a.log.events for a in answers if a.asking.stream))
        first = max(running.workers, key=lambda worker: worker.engine.answers)
        first.draining = True
        first.hand_back()
        await asking
        for told in answers:
            assert_whole(told)
        assert first.engine.counts["handed_back"] > 0
        assert running.count("resumed") >= first.engine.counts["handed_back"]
        await running.idle()


async def test_an_answer_is_moved_on_demand(zoo):
    async with zoo(costs=SLOW) as running:
        told = Told(request(1, tokens=40))
        client = running.client(headers={"x-request-id": "to-be-moved"})
        asking = asyncio.create_task(client.ask_all([told]))
        await eventually(lambda: len(told.log.events) > 8)
        moved = await running.controller.client.post("/admin/requests/to-be-moved/move")
        assert moved.is_success, moved.text
        await asking
        assert_whole(told)
        assert len(told.transcript.workers) == 2
        gone = await running.controller.client.post("/admin/requests/to-be-moved/move")
        assert gone.status_code == 404
        await running.idle()


async def test_a_worker_that_breaks_off_at_every_frame_is_left(zoo):
    """The fault is the mock's own: it would happen at each try there."""
    async with zoo() as running:
        await running.workers[0].set_fault(Fault.parse("break:4"))
        await running.workers[1].set_fault(Fault.parse("malformed:6"))
        for number in range(KINDS):
            assert_whole(await running.client().ask(request(number, tokens=30)))
        await running.idle()


async def test_a_client_that_leaves_a_moved_answer_frees_every_worker(zoo):
    async with zoo(cut(3_000), costs=SLOW, orphan_grace=30.0) as running:
        told = Told(request(0, tokens=2_000))
        asking = asyncio.create_task(running.client().ask_all([told]))
        await eventually(lambda: running.count("resumed") + running.count("attached") > 0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await running.idle()


async def test_the_bytes_of_an_undisturbed_answer_have_ids_and_no_trace_of_a_continuation(
    zoo,
):
    async with zoo() as running:
        told = await running.client().ask(request(0, tokens=30))
        assert_whole(told)
        assert told.continued == 0
        assert len(told.transcript.workers) == 1
        numbered = [event for event in told.log.events if event.id]
        assert len(numbered) == 30
        assert json.loads(told.log.events[-2].data)["choices"][0]["finish_reason"] == "length"
