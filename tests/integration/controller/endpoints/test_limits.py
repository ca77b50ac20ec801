"""How many calls an external server gets: a minute's limits, places, the queue before them."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.chat_request import BODY, CHAT
from tests.fakes.external_server import USAGE, always, completion, good, whole
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]

ASK = {**BODY, "model": "ext/big", "max_tokens": 10}


def numbered(number):
    return {**ASK, "messages": [{"role": "user", "content": str(number)}]}


def order(external):
    return [int(asked.json["messages"][0]["content"]) for asked in external.asked]


@pytest.fixture
async def calls():
    """A function that asks in the background; what still waits at the end is cancelled."""
    tasks = []

    def ask(controller, number):
        tasks.append(asyncio.create_task(controller.client.post(CHAT, json=numbered(number))))
        return tasks[-1]

    yield ask
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def waiting(controller, number):
    async def holds():
        return await controller.metric("llmzoo_endpoint_waiting") == number

    await eventually(holds)


async def test_requests_per_minute(serving, external):
    controller = await serving(requests_per_minute=3)
    statuses = [(await controller.client.post(CHAT, json=ASK)).status_code for _ in range(3)]

    response = await controller.client.post(CHAT, json=ASK)

    assert statuses == [200] * 3
    assert response.status_code == 429
    assert response.json()["error"]["code"] == "rate_limit_exceeded"
    # A third of a minute for the next one, less what the calls took.
    assert 15 <= int(response.headers["retry-after"]) <= 20
    assert len(external.asked) == 3


async def test_tokens_per_minute_are_reserved_and_settled(serving, external):
    # Each call may come to some 32 tokens and comes to 16.
    controller = await serving(tokens_per_minute=100)
    statuses = [(await controller.client.post(CHAT, json=ASK)).status_code for _ in range(8)]

    passed = statuses.count(200)
    # Refunds let more through than three, what was used fewer than all.
    assert statuses == [200] * passed + [429] * (8 - passed)
    assert passed * USAGE["total_tokens"] <= 100
    assert passed >= 4
    assert len(external.asked) == passed


async def test_what_was_refused_is_not_charged(serving, external):
    controller = await serving(tokens_per_minute=100)
    external.script = always(whole({"error": {"message": "no"}}, 400))
    for _ in range(10):
        assert (await controller.client.post(CHAT, json=ASK)).status_code == 400


async def test_calls_wait_for_a_place_in_their_order(serving, external, calls):
    controller = await serving(max_concurrency=1)
    gates = [asyncio.Event() for _ in range(4)]
    external.script = lambda asked: [gates[int(asked.json["messages"][0]["content"])], *good(asked)]
    asking = []
    for number in range(4):
        asking.append(calls(controller, number))
        await external.until(lambda: external.running == 1)
        await waiting(controller, number)

    for gate in reversed(gates):
        gate.set()
    answers = await asyncio.gather(*asking)

    assert [answer.status_code for answer in answers] == [200] * 4
    assert order(external) == [0, 1, 2, 3]
    assert external.most_running == 1


async def test_a_full_queue_is_429_with_retry_after(serving, external, calls):
    controller = await serving(max_concurrency=1)
    gate = asyncio.Event()
    external.script = always(gate, whole(completion()))
    asking = [calls(controller, number) for number in range(5)]
    await waiting(controller, 4)

    response = await controller.client.post(CHAT, json=ASK)

    assert (response.status_code, response.json()["error"]["code"]) == (429, "overloaded")
    assert int(response.headers["retry-after"]) >= 1
    gate.set()
    assert all(answer.is_success for answer in await asyncio.gather(*asking))


async def test_a_client_that_leaves_the_queue_gives_up_its_turn(serving, external, calls):
    controller = await serving(max_concurrency=1)
    gate = asyncio.Event()
    external.script = always(gate, whole(completion()))
    first, second, third = (calls(controller, number) for number in range(3))
    await waiting(controller, 2)

    second.cancel()
    await waiting(controller, 1)
    gate.set()

    assert (await first).is_success
    assert (await third).is_success
    assert len(external.asked) == 2
    await controller.idle()
    assert await controller.metric("llmzoo_endpoint_inflight") == 0


async def test_places_are_halved_by_429_and_grow_with_answers(serving, external):
    controller = await serving(max_concurrency=8)

    async def places():
        return await controller.metric("llmzoo_endpoint_places", endpoint="ext")

    before = await places()
    external.script = always(whole({"error": {"message": "busy"}}, 429))
    await controller.client.post(CHAT, json=ASK)
    assert await places() == before / 2

    external.script = good
    for _ in range(3):
        await asyncio.gather(*(controller.client.post(CHAT, json=ASK) for _ in range(8)))
    assert await places() > before / 2
    assert external.most_running <= 8
