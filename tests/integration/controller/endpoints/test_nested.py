"""A controller whose endpoint is another controller, with a worker behind that one."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from shared.protocol.sse import DONE, SSEDecoder
from tests.fakes.chat_request import BODY, CHAT
from tests.fakes.controller_process import ControllerProcess
from tests.fakes.endpoints_file import write_endpoints
from tests.fakes.waiting import eventually
from tests.fakes.worker_app import (
    Cut,
    FakeWorker,
    Refusal,
    Silence,
    answer,
    chunk,
    start,
    steps,
    tokens,
    unary_body,
)
from tests.integration.conftest import fleet_settings

pytestmark = pytest.mark.redis

ASK = {**BODY, "model": "inner/toy"}
STREAM = {**ASK, "stream": True}


@pytest.fixture
async def worker(redis_server, announce):  # noqa: ARG001 - runs
    worker = FakeWorker(answer("a", "b"))
    await announce(worker)
    return worker


@pytest.fixture
async def controllers(unstarted_redis, worker, tmp_path):  # noqa: ARG001 - announced
    """The outer and the inner one; each has a registry and keys of its own."""
    inner = ControllerProcess(
        tmp_path / "inner.log", **fleet_settings(unstarted_redis.url), api_keys="key-inner"
    )
    (tmp_path / "inner.key").write_text("key-inner")
    fields = {"name": "inner", "base_url": inner.url, "key_file": "inner.key", "models": ["toy"]}
    outer = ControllerProcess(
        tmp_path / "outer.log",
        **fleet_settings(f"{unstarted_redis.url}?db=1"),
        api_keys="key-outer",
        endpoints_file=write_endpoints(tmp_path, fields),
    )
    outer.client.headers["authorization"] = "Bearer key-outer"
    inner.client.headers["authorization"] = "Bearer key-inner"
    try:
        await asyncio.gather(outer.start(), inner.start())

        async def seen():
            return (await inner.client.get("/v1/models")).json()["data"]

        await eventually(seen)
        yield outer, inner
    finally:
        await outer.stop()
        await inner.stop()


async def test_chat_completions_streams_and_errors(controllers, worker):
    outer, inner = controllers

    whole = await outer.client.post(CHAT, json=ASK, headers={"x-request-id": "req-7"})
    assert (whole.status_code, whole.content) == (200, unary_body(["a", "b"]))
    assert worker.asked[0].headers["x-request-id"] == "req-7"
    assert worker.asked[0].json == BODY

    streamed = await outer.client.post(CHAT, json=STREAM)
    assert streamed.content == chunk("a") + chunk("b") + DONE

    completed = await outer.client.post(
        "/v1/completions", json={"model": "inner/toy", "prompt": "x"}
    )
    assert completed.status_code == 200
    assert worker.asked[-1].path == "/v1/completions"

    refusal = b'{"error":{"message":"n is bad","type":"invalid_request_error","param":"n"}}'
    worker.script = steps(Refusal(400, refusal))
    refused = await outer.client.post(CHAT, json=ASK)
    assert (refused.status_code, refused.content) == (400, refusal)

    worker.script = steps(Refusal(429, headers={"retry-after": "9"}))
    full = await outer.client.post(CHAT, json=ASK)
    assert (full.status_code, full.headers["retry-after"]) == (429, "9")

    worker.script = steps(start(), tokens(1, "a"), Cut())
    *_, last = SSEDecoder().feed((await outer.client.post(CHAT, json=STREAM)).content)
    assert orjson.loads(last)["error"]["code"] == "upstream_failed"

    listed = (await outer.client.get("/v1/models")).json()["data"]
    assert [(entry["id"], entry["owned_by"]) for entry in listed] == [("inner/toy", "inner")]
    for controller in controllers:
        assert await controller.metric("llmzoo_inflight_requests") == 0

    await inner.stop()
    assert (await outer.client.post(CHAT, json=ASK)).status_code == 502


@pytest.mark.parametrize("ask", [ASK, STREAM], ids=["unary", "stream"])
async def test_a_client_that_leaves_the_outer_one_ends_its_request_on_the_worker(
    controllers, worker, ask
):
    outer, inner = controllers
    worker.script = steps(start(), tokens(1, "a"), Silence())
    raw = orjson.dumps(ask)
    _, writer = await asyncio.open_connection("127.0.0.1", outer.port)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer key-outer\r\n"
    writer.write(f"{head}x-request-id: gone\r\ncontent-length: {len(raw)}\r\n\r\n".encode() + raw)
    await worker.until(lambda: worker.running == 1)

    writer.transport.abort()

    await worker.until(lambda: worker.aborted == ["gone"] and worker.running == 0)

    async def idle():
        return (
            await outer.metric("llmzoo_inflight_requests")
            == 0
            == await inner.metric("llmzoo_inflight_requests")
        )

    await eventually(idle)
