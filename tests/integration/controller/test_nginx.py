"""The shipped nginx configuration, run by the system's nginx before two controllers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial

import pytest

from shared.client import ZooClient
from tests.fakes.chat_request import BODY, CHAT, STREAM
from tests.fakes.command_line import PROJECT
from tests.fakes.controller_process import ControllerProcess
from tests.fakes.mock_process import MockProcess
from tests.fakes.nginx import NGINX, SHIPPED, Nginx
from tests.fakes.steady_load import SteadyLoad
from tests.fakes.waiting import eventually
from tests.fakes.worker_app import Asked, FakeWorker, Step, answer, end, start, tokens
from tests.integration.conftest import fleet_settings

pytestmark = [
    pytest.mark.redis,
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian package: nginx)"),
]

KEY = "a key of the operator"


@pytest.fixture
async def pair(redis_server, announce, tmp_path):
    """Two controllers that see one worker."""
    worker = FakeWorker(answer("fine"))
    await announce(worker)
    settings = fleet_settings(redis_server.url, api_keys=KEY, call_store_dir=tmp_path / "calls")
    controllers = [ControllerProcess(tmp_path / f"{n}.log", **settings) for n in range(2)]
    try:
        await asyncio.gather(*(controller.start() for controller in controllers))
        yield controllers, worker
    finally:
        for controller in controllers:
            await controller.stop()


@pytest.fixture
async def nginx(pair, tmp_path):
    controllers, _ = pair
    running = Nginx(
        tmp_path, *(controller.port for controller in controllers), authorization=f"Bearer {KEY}"
    )
    try:
        yield await running.start()
    finally:
        await running.stop()


async def served(controller: ControllerProcess) -> float:
    controller.client.headers["authorization"] = f"Bearer {KEY}"
    return await controller.metric("llmzoo_http_requests_total", route=CHAT, code="200")


async def test_both_controllers_are_asked_and_the_death_of_one_fails_no_new_request(
    pair, nginx
) -> None:
    controllers, _ = pair
    before = SteadyLoad(nginx.client)
    async with before.running(lines=4):
        await eventually(lambda: len(before.codes) > 40)
    assert {*before.codes} == {200}
    assert min([await served(controller) for controller in controllers]) > 10

    await controllers[0].stop()
    after = SteadyLoad(nginx.client)
    async with after.running(lines=4):
        await eventually(lambda: len(after.codes) > 40)
    assert {*after.codes} == {200}


async def test_a_controller_that_is_told_to_end_fails_no_request(pair, nginx) -> None:
    controllers, _ = pair
    load = SteadyLoad(nginx.client)
    async with load.running(lines=4):
        await eventually(lambda: len(load.codes) > 40)
        assert await controllers[0].end() == 0
        seen = len(load.codes)
        await eventually(lambda: len(load.codes) > seen + 40)
    assert {*load.codes} == {200}


async def test_a_stream_is_passed_on_as_it_comes_and_its_ids_are_one(pair, nginx) -> None:
    _, worker = pair
    go_on = asyncio.Event()
    worker.script = lambda _: [start(), tokens(1, "one"), go_on, tokens(2, "two"), end(2)]
    headers = {"x-request-id": "mine"}
    async with nginx.client.stream("POST", CHAT, json=STREAM, headers=headers) as response:
        assert response.headers["x-request-id"] == "mine"
        pieces = response.aiter_text()
        assert "one" in await anext(pieces)
        go_on.set()
        assert "".join([piece async for piece in pieces]).endswith("data: [DONE]\n\n")
    assert worker.asked[-1].headers["x-request-id"] == "mine"

    unnamed = await nginx.client.post(CHAT, json=BODY)
    given = unnamed.headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{32}", given)
    await eventually(lambda: nginx.log.read_text().count(given) == 1)
    assert nginx.log.read_text().count(" mine\n") == 1


async def test_what_was_sent_already_is_not_sent_twice(pair, nginx) -> None:
    controllers, worker = pair
    worker.script = lambda _: [asyncio.Event()]
    request = asyncio.create_task(nginx.client.post(CHAT, json=BODY))
    await eventually(lambda: len(worker.asked) == 1)
    await (await busy_one(controllers)).stop()
    assert (await request).status_code == 502
    assert len(worker.asked) == 1


async def busy_one(controllers: list[ControllerProcess]) -> ControllerProcess:
    """Return the controller that has a request under way."""
    for controller in controllers:
        controller.client.headers["authorization"] = f"Bearer {KEY}"
        if await controller.metric("llmzoo_inflight_requests") > 0:
            return controller
    raise AssertionError


async def test_a_call_with_an_idempotency_key_goes_to_the_other_controller(pair, nginx) -> None:
    controllers, worker = pair

    def script(request: Asked) -> Sequence[Step]:
        first = len(worker.asked) == 1
        return [asyncio.Event()] if first else answer("fine")(request)

    worker.script = script
    headers = {"idempotency-key": "once"}
    request = asyncio.create_task(nginx.client.post(CHAT, json=BODY, headers=headers))
    await eventually(lambda: len(worker.asked) == 1)
    await (await busy_one(controllers)).stop()
    answered = await request
    assert answered.status_code == 200
    assert answered.json()["choices"][0]["message"]["content"] == "fine"


async def test_a_stream_goes_on_at_the_other_controller(pair, nginx, redis_server) -> None:
    controllers, _ = pair
    body = {"model": "mock", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 60}
    worker = await MockProcess.start("mock-0", redis_server.url, step_ms=30, prefill_rate=1e6)
    text = ""
    try:
        for controller in controllers:
            await eventually(partial(knows, controller, worker.name))
        async with ZooClient(str(nginx.client.base_url), KEY) as client:
            whole = await client.chat(body)
            async with aclosing(client.stream_chat(body)) as deltas:
                async for delta in deltas:
                    if delta.text and not text:
                        await (await busy_one(controllers)).stop()
                    text += delta.text
    finally:
        await worker.kill()
    assert text == whole.text


async def knows(controller: ControllerProcess, worker: str) -> bool:
    controller.client.headers["authorization"] = f"Bearer {KEY}"
    services = (await controller.client.get("/v1/stats")).json()["services"]
    return any(each["id"] == worker and each["state"] == "ready" for each in services)


async def test_behind_nginx_nobody_is_local(redis_server, announce, tmp_path) -> None:
    await announce(FakeWorker(answer("fine")))
    settings = fleet_settings(redis_server.url, call_store_dir=tmp_path / "calls")
    open_one = await ControllerProcess(tmp_path / "open.log", **settings).start()
    nginx = Nginx(tmp_path, open_one.port, open_one.port + 1)
    try:
        await nginx.start()
        assert (await open_one.client.get("/v1/models")).status_code == 200
        for host in ("localhost", "127.0.0.1", "zoo.example.com"):
            refused = await nginx.client.get("/v1/models", headers={"host": host})
            assert refused.status_code == 403
            assert refused.json()["error"]["code"] == "host_not_allowed"
    finally:
        await nginx.stop()
        await open_one.stop()


def test_compose_puts_its_own_names_into_the_shipped_file() -> None:
    compose = (PROJECT / "docker-compose.yml").read_text()
    replaced = re.findall(r"-e 's/([^/]+)/([^/]+)/'", compose)
    text = SHIPPED.read_text()
    assert [new for _, new in replaced] == ["controller:8000", "controller-2:8000", "8080"]
    assert all(text.count(old) == 1 for old, _ in replaced)
