"""The evaluator's calls over real sockets: connections, limits, and the real controller."""

from __future__ import annotations

import asyncio
import contextlib
import math

import pytest

from services.evaluator.calling.calls import Calls
from services.evaluator.calling.connection import MAX_BODY_BYTES
from services.evaluator.calling.http_client import CallClient
from services.evaluator.calling.retries import RetryPolicy
from services.evaluator.calling.tariff import Tariff
from shared.client import APIError, ZooClient
from shared.errors import ConfigurationError, MalformedAnswer, Unavailable, UpstreamFailed
from tests.fakes.endpoints_file import write_endpoints
from tests.fakes.external_server import (
    Close,
    Cut,
    ExternalServer,
    Silence,
    always,
    completion,
    whole,
)
from tests.fakes.rate_limited_server import RateLimited
from tests.fakes.rate_limits import token_bucket
from tests.fakes.worker_app import FakeWorker, answer, http_chunk

BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
QUICK = RetryPolicy(first_pause=0.01, longest_pause=0.05)


@pytest.fixture
async def server():
    external = await ExternalServer().start()
    yield external
    await external.stop()


@pytest.fixture
def client(server):
    made = CallClient(f"http://127.0.0.1:{server.port}/v1", "sk-1")
    yield made
    made.close()


@contextlib.asynccontextmanager
async def calling(url, *, concurrency=32, policy=QUICK, seconds=20, key=""):
    client = CallClient(url, key)
    async with ZooClient(url, key) as zoo:
        yield Calls(client, Tariff(zoo), concurrency=concurrency, policy=policy, timeout=seconds)
    client.close()


async def test_a_call_is_batch_work_under_its_key_and_connections_are_kept(client, server):
    for _ in range(20):
        assert (await client.chat(b'{"model": "m"}', "eval-1")).text == "fine"
    assert server.accepted == 1
    asked = server.asked[0]
    assert (asked.path, asked.json) == ("/v1/chat/completions", {"model": "m"})
    assert asked.headers["idempotency-key"] == "eval-1"
    assert asked.headers["x-llmzoo-priority"] == "batch"
    assert asked.headers["authorization"].lower() == "bearer sk-1"


async def test_a_connection_that_was_closed_meanwhile_costs_nothing(client, server):
    server.script = always(whole(completion()), Close())
    for _ in range(5):
        await client.chat(b"{}", "k")
    assert len(server.asked) == server.accepted == 5


CHUNKED = b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
BODY_BYTES = whole(completion()).partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    "steps",
    [
        [CHUNKED, http_chunk(BODY_BYTES[:10]), http_chunk(BODY_BYTES[10:]), b"0\r\n\r\n"],
        [b"HTTP/1.1 200 X\r\n\r\n", BODY_BYTES, Close()],
        [b"HTTP/1.1 100 Continue\r\n\r\n", whole(completion())],
        [whole(completion(), connection="close"), Close()],
        [whole(completion())[:40], whole(completion())[40:]],
    ],
    ids=["chunked", "until the close", "interim", "closing", "in pieces"],
)
async def test_answers_are_read_however_they_are_framed(client, server, steps):
    server.script = always(*steps)
    for _ in range(2):
        assert (await client.chat(b"{}", "k")).text == "fine"


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ([Cut()], UpstreamFailed),
        ([whole(completion())[:-5], Cut()], UpstreamFailed),
        ([b"nonsense\r\n\r\n"], MalformedAnswer),
        ([b"HTTP/1.1 200 X\r\n" + b"a: b\r\n" * 20_000], MalformedAnswer),
        ([CHUNKED, http_chunk(b"x" * (MAX_BODY_BYTES + 1))], MalformedAnswer),
        ([whole(b"[]")], MalformedAnswer),
        ([whole(b"<html>")], MalformedAnswer),
        ([whole({"choices": [{"message": {"content": 3}, "finish_reason": "stop"}]})],
         MalformedAnswer),
        ([whole({"error": {"message": "no"}}, 404)], APIError),
    ],
)  # fmt: skip
async def test_what_is_no_answer_is_a_typed_fault(client, server, steps, fault):
    server.script = always(*steps)
    with pytest.raises(fault):
        await client.chat(b"{}", "k")
    server.script = always(whole(completion()))
    await client.chat(b"{}", "k")


async def test_nobody_there_is_unavailable_and_a_setting_that_is_none_is_said():
    with pytest.raises(Unavailable):
        await CallClient("http://127.0.0.1:1").chat(b"{}", "k")
    for url, key in (("ftp://x", ""), ("x", ""), ("http://x", "a\r\nb"), ("http://x", "ключ")):
        with pytest.raises(ConfigurationError):
            CallClient(url, key)


async def test_cancelling_closes_the_connection(client, server):
    server.script = always(Silence())
    task = asyncio.create_task(client.chat(b"{}", "k"))
    await server.until(lambda: server.running == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.until(lambda: server.running == 0)


@pytest.mark.redis
@pytest.mark.usefixtures("redis_server")
async def test_a_call_to_a_local_model_through_the_controller_is_made_once(
    start_controller, announce
):
    controller = await start_controller(api_keys="sk-evaluator")
    worker = FakeWorker(answer("fine"))
    await announce(worker)
    body = {**BODY, "model": "toy"}
    async with calling(controller.url, key="sk-evaluator") as calls:
        first, again = await calls.ask(body), await calls.ask(body)
        other = await calls.ask(body, salt="2")
    assert first == again
    # An answer that is told again took no time of its own.
    assert first.seconds > 0
    assert again.seconds is None
    assert other.text == first.text
    assert first.cost_usd == 0.0
    assert len(worker.asked) == 2
    assert worker.asked[0].headers["x-llmzoo-priority"] == "batch"


@pytest.mark.redis
@pytest.mark.usefixtures("redis_server")
async def test_a_call_to_an_endpoint_is_paid_once_and_finished_without_its_evaluator(
    start_controller, server, tmp_path
):
    gate = asyncio.Event()
    server.script = always(gate, whole(completion()))
    fields = {
        "name": "ext",
        "base_url": f"http://127.0.0.1:{server.port}",
        "models": ["big"],
        "prices": {"input": 2.0, "output": 10.0},
    }
    controller = await start_controller(endpoints_file=write_endpoints(tmp_path, fields))
    body = {**BODY, "model": "ext/big"}
    async with calling(controller.url) as calls:
        vanished = asyncio.create_task(calls.ask(body))
        await server.until(lambda: server.running == 1)
        vanished.cancel()
        with pytest.raises(asyncio.CancelledError):
            await vanished
    async with calling(controller.url) as calls:
        waiting = asyncio.create_task(calls.ask(body))
        gate.set()
        reply = await waiting
        assert await calls.ask(body) == reply
    assert len(server.asked) == 1
    assert reply.cost_usd == pytest.approx((11 * 2 + 5 * 10) / 1e6)
    assert "x-llmzoo-priority" not in server.asked[0].headers


@pytest.mark.redis
@pytest.mark.usefixtures("redis_server")
async def test_an_endpoints_limit_behind_the_controller_loses_nothing(
    start_controller, server, tmp_path
):
    fields = {
        "name": "ext",
        "base_url": f"http://127.0.0.1:{server.port}",
        "models": ["big"],
        "requests_per_minute": 600,
    }
    limited = RateLimited(token_bucket(40, 20), lambda wait: str(math.ceil(wait)))
    server.script = limited.server.script
    controller = await start_controller(endpoints_file=write_endpoints(tmp_path, fields))
    async with calling(controller.url) as calls:
        replies = await asyncio.gather(
            *(calls.ask({**BODY, "model": "ext/big", "seed": n}) for n in range(120))
        )
    assert {reply.text for reply in replies} == {"fine"}
    assert len(limited.came) - len(limited.refused) == 120
