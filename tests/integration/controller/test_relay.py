"""The controller relays: bytes, order and time of an answer, streamed or whole."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from shared.protocol.frames import encode
from shared.protocol.sse import DONE, SSEDecoder
from tests.fakes.chat_request import BODY, CHAT, STREAM
from tests.fakes.worker_app import (
    answer,
    chunk,
    end,
    http_chunk,
    start,
    steps,
    tokens,
    unary_body,
)

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]


@pytest.fixture
def worker(worker):
    worker.script = answer("Hel", "lo", " ", "there")
    return worker


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
async def test_a_streams_bytes_arrive_unchanged_and_in_order(controller, worker, path):
    response = await controller.client.post(path, json=STREAM)

    assert response.status_code == 200
    assert response.content == b"".join(map(chunk, ("Hel", "lo", " ", "there"))) + DONE
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-accel-buffering"] == "no"
    assert worker.asked[0].path == path


@pytest.mark.usefixtures("redis_server", "worker")
async def test_a_whole_answer_is_the_workers_body(controller):
    response = await controller.client.post(CHAT, json=BODY)

    assert response.status_code == 200
    assert response.content == unary_body(("Hel", "lo", " ", "there"))
    assert response.headers["content-type"] == "application/json"


async def test_the_request_body_goes_on_byte_for_byte(controller, worker):
    raw = b'{ "messages":[{"role":"user","content":"\\u00e9 \xc3\xa9"}],  "model" : "toy" }\n'

    await controller.client.post(CHAT, content=raw)

    assert worker.asked[0].body == raw


async def test_the_request_id_goes_end_to_end(controller, worker):
    response = await controller.client.post(CHAT, json=BODY, headers={"x-request-id": "abc-1"})

    assert response.headers["x-request-id"] == "abc-1"
    asked = worker.asked[0].headers
    assert asked["x-request-id"] == "abc-1"
    assert asked["x-llmzoo-frames"] == "1"
    assert asked["authorization"] == "bearer a token between services"


async def test_two_running_requests_of_one_id_are_two_to_the_worker(controller, worker):
    gate = asyncio.Event()
    worker.script = steps(start(), gate, tokens(1, "a"), end(1))
    posts = [
        asyncio.create_task(
            controller.client.post(CHAT, json=STREAM, headers={"x-request-id": "same"})
        )
        for _ in range(2)
    ]
    await worker.until(lambda: worker.running == 2)
    gate.set()
    responses = await asyncio.gather(*posts)

    assert [r.headers["x-request-id"] for r in responses] == ["same", "same"]
    assert len({asked.headers["x-request-id"] for asked in worker.asked}) == 2


async def test_the_first_chunk_arrives_before_the_worker_goes_on(controller, worker):
    gate = asyncio.Event()
    worker.script = steps(start(), tokens(1, "first"), gate, tokens(2, "second"), end(2))

    async with controller.client.stream("POST", CHAT, json=STREAM) as response:
        pieces = response.aiter_raw()
        assert await anext(pieces) == chunk("first")
        gate.set()
        assert b"".join([piece async for piece in pieces]) == chunk("second") + DONE


@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_frames_may_lie_anyhow_in_the_workers_chunks(controller, worker, size):
    texts = [f"{n}-" * (n % 7) for n in range(1, 50)]
    frames = [start(), *(tokens(n, text) for n, text in enumerate(texts, 1)), end(len(texts))]
    raw = b"".join(map(encode, frames))
    worker.script = steps(*(http_chunk(raw[n : n + size]) for n in range(0, len(raw), size)))

    response = await controller.client.post(CHAT, json=STREAM)

    *events, last = SSEDecoder().feed(response.content)
    assert last == b"[DONE]"
    assert [orjson.loads(e)["choices"][0]["delta"]["content"] for e in events] == texts


async def test_a_worker_connection_is_used_again(controller, worker):
    for _ in range(5):
        await controller.client.post(CHAT, json=STREAM)
        await controller.client.post(CHAT, json=BODY)

    assert worker.accepted == 1


@pytest.mark.usefixtures("redis_server", "worker")
async def test_tokens_are_counted_by_model(controller):
    await controller.client.post(CHAT, json=STREAM)
    await controller.client.post(CHAT, json=BODY)

    assert await controller.metric("llmzoo_prompt_tokens_total", model="toy") == 6
    assert await controller.metric("llmzoo_generation_tokens_total", model="toy") == 8
    assert await controller.metric("llmzoo_time_to_first_token_seconds_count", model="toy") == 2
    assert await controller.metric("llmzoo_e2e_request_latency_seconds_count", model="toy") == 2
    assert await controller.metric("llmzoo_router_overhead_seconds_count") == 2
    assert await controller.metric("llmzoo_http_requests_total", route=CHAT, code="200") == 2
