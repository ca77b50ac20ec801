"""What the controller measures, read where Prometheus reads it."""

from __future__ import annotations

import asyncio
import random
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.protocol.frames import TokensFrame
from shared.protocol.prefix_chain import BLOCK_BYTES
from tests.fakes.chat_request import BODY, CHAT, STREAM
from tests.fakes.waiting import eventually
from tests.fakes.worker_app import FakeWorker, answer, end, start, steps, tokens

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]

PER_TOKEN = "llmzoo_request_time_per_output_token_seconds"


async def series(controller):
    text = (await controller.client.get("/metrics")).text
    return {
        (sample.name, *sorted(sample.labels.items()))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_whatever_is_asked_the_series_are_bounded(controller, worker):
    rng = random.Random(5)
    paths = [CHAT, "/v1/models", "/admin/workers", "/tokenize", "/metrics/targets"]

    async def ask(number):
        path = rng.choice(paths) + rng.choice(["", f"/{rng.random()}", f"?{rng.random()}"])
        path = rng.choice([path, f"/{rng.random()}", f"/v1/{rng.random()}"])
        method = rng.choice(["GET", "POST", "DELETE", f"M{number}"])
        headers = {"x-request-id": str(rng.random()), "x-session-id": str(rng.random())}
        body = {**BODY, "model": f"model-{rng.random()}"}
        await controller.client.request(method, path, json=body, headers=headers)

    await asyncio.gather(*(ask(n) for n in range(100)))
    known = await series(controller)
    await asyncio.gather(*(ask(n) for n in range(100, 400)))
    new = await series(controller) - known

    # A code that a route had not answered with before may come; there are few of both.
    assert {name for name, *_ in new} <= {"llmzoo_http_requests_total"}
    labels = {value for _, *pairs in new | known for _, value in pairs}
    assert not [value for value in labels if value.startswith(("model-", "M"))]
    assert len(new) < 20
    assert worker.name in labels


async def test_ten_thousand_unknown_models_leave_no_series(controller, worker):
    await series(controller)  # this begins a series itself
    known = await series(controller)
    assert ("llmzoo_time_to_first_token_seconds_count", ("model", "toy")) in known

    async def ask(first):
        """Ask for a thousand models over one connection, all at once."""
        reader, writer = await asyncio.open_connection("127.0.0.1", controller.port)
        for number in range(first, first + 1000):
            body = b'{"model":"model-%d"}' % number
            head = b"POST %b HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n"
            writer.write(head % (CHAT.encode(), len(body)) + body)
        for _ in range(1000):
            assert (await reader.readline()).startswith(b"HTTP/1.1 404 ")
            await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(ask(first) for first in range(0, 10_000, 1000)))
    assert await controller.metric("llmzoo_http_requests_total", route=CHAT, code="404") == 10_000
    assert await series(controller) == known
    assert worker.asked == []


async def test_redis_is_told_to_be_up_with_its_memory_and_down_without_it(
    start_controller, redis_server
):
    controller = await start_controller()

    async def told(**kind):
        return await controller.metric("llmzoo_redis_memory_bytes", **kind)

    async def is_up():
        return await told(kind="used") > 0

    async def is_down():
        return await controller.metric("llmzoo_redis_up") == 0

    await eventually(is_up)
    assert await controller.metric("llmzoo_redis_up") == 1
    assert await told(kind="max") == 0  # it has no bound
    redis_server.kill()
    await eventually(is_down)
    assert "llmzoo_redis_memory_bytes{" not in (await controller.client.get("/metrics")).text


async def test_the_time_of_a_token_is_taken_after_the_first(controller, worker):
    gate = asyncio.Event()
    worker.script = steps(
        start(), tokens(1, "a"), gate, TokensFrame(2, 0, (1, 2, 3, 4), b""), end(5)
    )
    async with controller.client.stream("POST", CHAT, json=STREAM) as response:
        pieces = response.aiter_raw()
        await anext(pieces)
        began = time.monotonic()
        await asyncio.sleep(0.2)
        gate.set()
        async for _ in pieces:
            pass
        took = time.monotonic() - began
    assert await controller.metric(f"{PER_TOKEN}_count", model="toy") == 1
    each = await controller.metric(f"{PER_TOKEN}_sum", model="toy")
    assert 0.2 / 4 * 0.9 < each < took / 4 * 1.1 + 0.01

    worker.script = answer("one token")
    await controller.client.post(CHAT, json=BODY)
    assert await controller.metric(f"{PER_TOKEN}_count", model="toy") == 1
    assert await controller.metric("llmzoo_e2e_request_latency_seconds_count", model="toy") == 2


async def test_choices_are_counted_by_the_policy_that_made_them(start_controller, announce):
    controller = await start_controller(routing_policy="power_of_two")
    await announce(FakeWorker(answer("x"), name="worker-0"))
    await controller.sees("worker-0")
    await controller.client.post(CHAT, json=BODY)
    await announce(FakeWorker(answer("x"), name="worker-1"))
    await controller.sees("worker-0", "worker-1")
    for _ in range(3):
        await controller.client.post(CHAT, json=BODY)

    async def chosen(policy):
        return await controller.metric("llmzoo_worker_selections_total", policy=policy)

    assert (await chosen("none"), await chosen("power_of_two")) == (1, 3)


async def test_prefix_hits_are_counted_in_tokens(controller, announce):
    for name in ("worker-0", "worker-1"):
        await announce(FakeWorker(answer("x"), name=name))
    await controller.sees("worker-0", "worker-1")
    long = {**BODY, "messages": [{"role": "user", "content": "a" * 8 * BLOCK_BYTES}]}
    await controller.client.post(CHAT, json=long)
    queries = await controller.metric("llmzoo_router_prefix_queries_total")
    assert queries >= 8 * BLOCK_BYTES / 4
    assert await controller.metric("llmzoo_router_prefix_hits_total") == 0

    await controller.client.post(CHAT, json=long)

    assert await controller.metric("llmzoo_router_prefix_queries_total") == 2 * queries
    hits = await controller.metric("llmzoo_router_prefix_hits_total")
    assert 0.9 * queries < hits <= queries
    ratios = [
        s.get("routing", {}).get("prefix_hit_ratio") for s in (await controller.stats())["services"]
    ]
    assert round(hits / queries / 2, 4) in ratios


async def test_a_blocked_loop_shows_as_lag(controller):
    name = "llmzoo_event_loop_lag_seconds"

    async def measured(count):
        return await controller.metric(f"{name}_count") >= count

    await eventually(lambda: measured(1))
    time.sleep(0.6)  # noqa: ASYNC251 - that is the fault
    await eventually(lambda: measured(2))
    assert await controller.metric(f"{name}_sum") >= 0.3


async def test_odd_methods_are_answered(controller):
    answers = [
        await controller.client.request(method, path)
        for method in ("PUT", "PATCH", "OPTIONS", "TRACE", "BREW")
        for path in (CHAT, "/v1/models", "/tokenize", "/admin/queue", "/metrics")
    ]
    assert {answer.status_code for answer in answers} <= {
        httpx.codes.METHOD_NOT_ALLOWED,
        httpx.codes.BAD_REQUEST,
    }
