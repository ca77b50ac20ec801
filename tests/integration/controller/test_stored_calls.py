"""Idempotency-Key on the hot routes: two controllers, a real Redis, a worker that can be held."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from tests.fakes.chat_request import BODY, CHAT, STREAM
from tests.fakes.waiting import eventually
from tests.fakes.worker_app import FakeWorker, Refusal, answer, end, start, steps, tokens

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]

KEY = {"idempotency-key": "k-1"}


@pytest.fixture
async def controllers(start_controller, announce):
    """Two controllers and the worker that both see."""
    both = [await start_controller(), await start_controller()]
    worker = FakeWorker(answer("fine"))
    await announce(worker)
    for controller in both:
        await controller.sees("worker-1")
    return *both, worker


async def test_a_call_is_made_once_over_two_controllers(controllers):
    first, second, worker = controllers

    made = await first.client.post(CHAT, json=BODY, headers=KEY)
    again = await second.client.post(CHAT, json=BODY, headers=KEY)
    other = await second.client.post(CHAT, json={**BODY, "seed": 1}, headers=KEY)

    assert made.content == again.content
    assert (made.headers["x-llmzoo-call-store"], len(worker.asked)) == ("stored", 1)
    assert again.headers["idempotency-replayed"] == "true"
    assert other.status_code == 422


async def test_a_call_whose_client_left_is_finished_and_not_aborted(controllers):
    first, second, worker = controllers
    gate = asyncio.Event()
    worker.script = steps(start(), gate, tokens(1, ""), end(1, b'{"id": "1"}'))
    raw = orjson.dumps(BODY)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nidempotency-key: k-1\r\ncontent-length: {len(raw)}"
    _, writer = await asyncio.open_connection("127.0.0.1", first.port)
    writer.write(head.encode() + b"\r\n\r\n" + raw)
    await worker.until(lambda: worker.running == 1)
    writer.transport.abort()
    joined = asyncio.create_task(second.client.post(CHAT, content=raw, headers=KEY))

    async def left():
        return await first.metric("llmzoo_inflight_requests") == 0

    await eventually(left)
    gate.set()

    assert (await joined).content == b'{"id": "1"}'
    assert (worker.aborted, len(worker.asked)) == ([], 1)
    await first.idle()


async def test_a_refusal_is_passed_on_and_not_stored(controllers):
    first, second, worker = controllers
    worker.script = steps(Refusal(400, b'{"error": {}}', {"retry-after": "3"}))
    refused = await first.client.post(CHAT, json=BODY, headers=KEY)
    worker.script = answer("fine")

    assert (refused.status_code, refused.content) == (400, b'{"error": {}}')
    assert refused.headers["retry-after"] == "3"
    assert (await second.client.post(CHAT, json=BODY, headers=KEY)).status_code == 200


async def test_a_stream_with_a_key_runs_and_says_that_it_is_not_stored(controllers):
    first, _, worker = controllers
    for _ in range(2):
        streamed = await first.client.post(CHAT, json=STREAM, headers=KEY)
        assert streamed.headers["x-llmzoo-call-store"] == "unstored"
    assert len(worker.asked) == 2


async def test_a_malformed_key_reaches_no_worker(controllers):
    first, _, worker = controllers
    refused = await first.client.post(CHAT, json=BODY, headers={"idempotency-key": "a b"})
    assert refused.status_code == 400
    assert not worker.asked
