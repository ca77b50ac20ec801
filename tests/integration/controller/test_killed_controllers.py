"""Controllers are killed under 64 streams whose clients come back; nothing is lost or repeated.

Workers keep what runs, and any controller goes on with it by `Last-Event-ID`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.bench.gateway.wire import Target
from tests.fakes.controller_process import ControllerProcess
from tests.fakes.crowd import ALL_WELL, Crowd
from tests.fakes.mixed_requests import mix, request
from tests.fakes.mock_process import MockProcess
from tests.fakes.returning_client import ReturningClient, Told
from tests.fakes.running_service import TOKEN
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.timeout(120)]

STEP = 0.04
TOKENS = 50
STREAMS = 64
HALF = {STREAMS // 2 - 1, STREAMS // 2}
"""Of the first controller; one of them is so short that it may have ended when that is killed."""

StartController = Callable[[], Awaitable[ControllerProcess]]


@pytest.fixture
async def workers(redis_server) -> AsyncIterator[list[MockProcess]]:
    options = {"step_ms": STEP * 1e3, "prefill_rate": 1e6}
    starting = (MockProcess.start(f"mock-{i}", redis_server.url, **options) for i in range(2))
    workers = await asyncio.gather(*starting)
    yield workers
    for worker in workers:
        await worker.kill()


@pytest.fixture
async def start(redis_server, tmp_path, workers) -> AsyncIterator[StartController]:
    """A function that starts the next of three controllers and waits until it sees the workers."""
    # All hold their ports from now on.
    controllers = [
        ControllerProcess(
            tmp_path / f"controller-{index}.log",
            redis_url=redis_server.url,
            internal_token=TOKEN,
            heartbeat_interval=0.1,
            heartbeat_ttl=1.0,
            call_store_dir=tmp_path / "calls",
            log_level="info",
        )
        for index in range(3)
    ]
    unstarted = iter(controllers)

    async def start_one() -> ControllerProcess:
        controller = await next(unstarted).start()

        async def seen() -> bool:
            services = (await controller.client.get("/v1/stats")).json()["services"]
            ready = {s["id"] for s in services if s["state"] == "ready"}
            return {worker.name for worker in workers} <= ready

        await eventually(seen)
        return controller

    yield start_one
    for controller in controllers:
        await controller.stop()


def target(controller: ControllerProcess) -> Target:
    return Target("127.0.0.1", controller.port)


async def generated(workers: list[MockProcess]) -> int:
    return sum([(await worker.counts()).get("generated", 0) for worker in workers])


async def test_one_of_two_is_killed(start: StartController, workers, record_property):
    first, second = await asyncio.gather(start(), start())
    client = ReturningClient([target(first), target(second)], tries=100, patience=60)
    async with Crowd(client, mix(STREAMS, tokens=TOKENS, unary=0)) as asking:
        await asking.under_way(6)
        await first.stop()
        await asking.whole()
    stalls = asking.stalls(STEP)
    record_property("controller kill", stalls)
    print(f"controller kill: client-visible stall beyond a step, ms: {stalls}")
    assert asking.found() == ALL_WELL
    lost = [told for told in asking.answers if told.losses]
    assert {told.continued for told in lost} == {1}
    assert len(lost) in HALF
    # They went on and were not begun again: each token was made once.
    tokens = sum(
        len(event.data) > 0 and bool(event.id)
        for told in asking.answers
        for event in told.log.events
    )
    held_back = await generated(workers) - tokens
    assert 0 <= held_back < 0.1 * tokens


async def test_both_are_killed_in_turn_and_the_first_comes_back(start: StartController):
    first, second = await asyncio.gather(start(), start())
    targets = [target(first), target(second)]
    client = ReturningClient(targets, tries=400, patience=60)
    async with Crowd(client, mix(STREAMS, tokens=2 * TOKENS, unary=0)) as asking:
        await asking.under_way(6)
        await first.stop()
        await asking.under_way(6)
        targets[0] = target(await start())
        await second.stop()
        await asking.whole()
    assert asking.found() == ALL_WELL


async def test_a_worker_dies_after_the_controller_that_began_with_it(start, workers):
    """What was taken over can be moved like any other answer."""
    first, second = await asyncio.gather(start(), start())
    client = ReturningClient([target(first), target(second)], tries=400, patience=60)
    async with Crowd(client, mix(STREAMS, tokens=2 * TOKENS, unary=0)) as asking:
        await asking.under_way(6)
        await first.stop()
        await asking.under_way(6)
        await workers[0].kill()
        await asking.whole()
    assert asking.found() == ALL_WELL
    # The survivor was left by one controller, and never by both.
    assert sum(told.losses > 0 for told in asking.answers) in HALF


async def test_who_comes_back_elsewhere_takes_the_stream_from_where_it_was(start):
    first, second = await asyncio.gather(start(), start())
    told = Told(request(1, tokens=60))
    asking = asyncio.create_task(ReturningClient([target(first)]).ask_all([told]))
    await eventually(lambda: bool(told.log.last_id) and len(told.log.events) > 6)
    event_id = told.log.last_id
    at = next(i for i, event in enumerate(told.log.events) if event.id == event_id)
    client = ReturningClient([target(second)], {"last-event-id": event_id})
    rest = await client.ask(told.asking)
    await asking
    assert told.transcript.error is not None
    assert told.transcript.error["code"] == "taken_over"
    # Both together are one answer.
    told.log.events[at + 1 :] = rest.log.events
    assert told.differences.none


async def test_who_comes_back_for_what_nobody_has_is_told_so(start: StartController):
    controller = await start()
    asking = request(0, tokens=10)
    unknown = {"last-event-id": "mock-0.chatcmpl-nobody.3"}
    gone = await controller.client.post(asking.path, json=asking.body, headers=unknown)
    assert gone.status_code == 404
    assert gone.json()["error"]["code"] == "answer_not_found"
    whole = request(0, tokens=10, stream=False)
    refused = await controller.client.post(whole.path, json=whole.body, headers=unknown)
    assert refused.status_code in {400, 422}
    malformed = {"last-event-id": "nonsense"}
    refused = await controller.client.post(asking.path, json=asking.body, headers=malformed)
    assert refused.status_code == 400


async def test_a_finished_stream_is_told_again_from_any_event(start: StartController, workers):
    controller = await start()
    client = ReturningClient([target(controller)])
    told = await client.ask(request(1, tokens=12))
    numbered = [at for at, event in enumerate(told.log.events) if event.id]
    made = await generated(workers)
    for at in numbered[:: len(numbered) // 4]:
        again = ReturningClient([target(controller)], {"last-event-id": told.log.events[at].id})
        rest = await again.ask(told.asking)
        assert rest.continued == 1
        assert rest.log.events == told.log.events[at + 1 :]
    assert await generated(workers) == made


@pytest.mark.parametrize(
    "changed", [{"max_tokens": 13}, {"messages": [{"role": "user", "content": "x"}]}]
)
async def test_an_answer_goes_on_only_for_the_request_that_it_answers(start, changed):
    controller = await start()
    told = await ReturningClient([target(controller)]).ask(request(0, tokens=12))
    headers = {"last-event-id": told.log.last_id}
    body = {**told.asking.body, **changed}
    refused = await controller.client.post(told.asking.path, json=body, headers=headers)
    assert refused.status_code in {400, 404, 422}
