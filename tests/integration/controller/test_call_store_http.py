"""What a client sees of the call store, over real sockets."""

from __future__ import annotations

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from services.controller.metrics import HOT_ROUTES
from services.controller.relay.answer import Answer
from shared.errors import Overloaded
from shared.http.server import Service
from tests.fakes.call_stores import PATH, Producer, running_store
from tests.fakes.running_service import RunningService
from tests.fakes.stored_route import StoredRoute

pytestmark = pytest.mark.redis

BODY = b'{"model": "toy"}'


class StoredService(RunningService):
    """An app whose only route answers through a store; what makes calls can be held back."""

    def __init__(self, store, *, required=False):
        self.produce = Producer(b'{"id": "1"}')
        self.produce.answer = Answer(
            200, b'{"id": "1"}', (("content-type", "application/json"), ("x-cost", "3"))
        )
        route = StoredRoute(store, lambda _: self.produce(), required=required)
        app = Starlette(routes=[Route(path, route, methods=["POST"]) for path in HOT_ROUTES])
        app.add_route("/health/live", lambda _: Response())
        super().__init__(lambda _: Service(app, lambda: None), 21_000)

    async def post(self, body=BODY, path=PATH, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(path, content=body, headers=headers)


@pytest.fixture
async def store(redis_server, tmp_path):
    async with running_store(redis_server.url, tmp_path, drain_timeout=1) as running:
        yield running


@pytest.fixture
async def service(store):
    service = StoredService(store.store)
    yield await service.listening()
    await service.stop()


async def test_a_replay_is_the_same_answer_and_says_what_it_is(service):
    first = await service.post(idempotency_key="k")
    second = await service.post(idempotency_key="k")

    assert first.content == second.content == b'{"id": "1"}'
    assert first.headers["x-llmzoo-call-store"] == "stored"
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    for name in ("content-type", "content-length", "x-cost"):
        assert first.headers[name] == second.headers[name]
    assert service.produce.made == 1


async def test_a_client_that_hangs_up_finds_its_answer_later(service):
    service.produce.gate.clear()
    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nidempotency-key: k\r\ncontent-length: {len(BODY)}"
    writer.write(head.encode() + b"\r\n\r\n" + BODY)
    await service.produce.started.wait()
    writer.transport.abort()
    await asyncio.sleep(0.1)  # the server hears of it
    service.produce.gate.set()

    answer = await service.post(idempotency_key="k")

    assert answer.headers["idempotency-replayed"] == "true"
    assert (service.produce.made, service.produce.cancelled) == (1, 0)


async def test_another_request_under_the_same_key_is_refused(service):
    await service.post(idempotency_key="k")
    for change in ({"body": b'{"model": "other"}'}, {"path": "/v1/completions"}):
        refused = await service.post(idempotency_key="k", **change)
        assert refused.status_code == 422
        assert refused.json()["error"]["code"] == "idempotency_key_reused"
        assert refused.json()["error"]["param"] == "idempotency-key"


@pytest.mark.parametrize("key", ["", "two words", "x" * 256])
async def test_a_malformed_key_is_refused(service, key):
    refused = await service.post(idempotency_key=key)

    assert refused.status_code == 400
    assert "Idempotency-Key" in refused.json()["error"]["message"]
    assert service.produce.made == 0


async def test_without_a_key_nothing_is_stored(service):
    answers = [await service.post() for _ in range(2)]

    assert service.produce.made == 2
    assert not any("x-llmzoo-call-store" in answer.headers for answer in answers)


async def test_a_stream_with_a_key_says_that_it_was_not_stored(service):
    for _ in range(2):
        answer = await service.post(b'{"stream": true}', idempotency_key="k")
        assert answer.headers["x-llmzoo-call-store"] == "unstored"
    assert service.produce.made == 2


async def test_a_refusal_keeps_its_retry_after_and_is_not_stored(service):
    service.produce.fault = Overloaded("full", retry_after=7)
    refused = await service.post(idempotency_key="k")
    service.produce.fault = None

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
    assert (await service.post(idempotency_key="k")).status_code == 200


async def test_a_paid_call_without_redis_is_a_503(store, redis_server):
    redis_server.kill()
    service = await StoredService(store.store, required=True).listening()

    refused = await service.post(idempotency_key="k")

    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert service.produce.made == 0
    await service.stop()


@pytest.mark.usefixtures("redis_server")
async def test_a_controllers_metrics_tell_of_its_store(controller):
    text = (await controller.client.get("/metrics")).text
    assert 'llmzoo_call_store_calls_total{outcome="stored"} 0.0' in text
    assert "llmzoo_call_store_running 0.0" in text
