"""What the controller answers by itself: bad requests, keys, unknown paths, its own routes."""

from __future__ import annotations

import asyncio
import random
import sys

import orjson
import pytest

from shared.protocol.workers import State
from shared.settings import child_environment
from tests.fakes.chat_request import BODY, CHAT
from tests.fakes.worker_app import FakeWorker, answer

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]


BAD_BODIES = {
    "nothing": (b"", None),
    "no JSON": (b"{", None),
    "half a string": (b'{"model": "to', None),
    "invalid UTF-8": (b'{"model": "\xff"}', None),
    "a list": (b"[]", None),
    "a string": (b'"toy"', None),
    "null": (b"null", None),
    "NaN": (b'{"model": "toy", "temperature": NaN}', "temperature"),
    "Infinity": (b'{"model": "toy", "top_p": -Infinity}', "top_p"),
    "no model": (b'{"messages": []}', "model"),
    "a number as model": (b'{"model": 3}', "model"),
    "null as model": (b'{"model": null}', "model"),
    "a list as model": (b'{"model": ["toy"]}', "model"),
    "an empty model": (b'{"model": ""}', "model"),
    "too deep": (b'{"model": "toy", "x": ' + b"[" * 100 + b"]" * 100 + b"}", "x"),
    "a lone surrogate": (b'{"model": "\\ud800"}', None),
    "two documents": (b'{"model": "toy"} {}', None),
    "a byte order mark": (b'\xef\xbb\xbf{"model": "toy"}', None),
}


@pytest.fixture
async def controller(start_controller):
    return await start_controller(max_body_bytes=4096)


async def test_bad_bodies_are_4xx_that_name_the_parameter(controller, worker):
    for raw, param in BAD_BODIES.values():
        response = await controller.client.post(CHAT, content=raw)
        error = response.json()["error"]
        assert response.status_code == 400, raw
        assert error["type"] == "invalid_request_error"
        assert error["param"] == param, raw
        assert error["message"]
    assert not worker.asked
    await controller.idle()


@pytest.mark.usefixtures("redis_server", "worker")
async def test_whatever_is_sent_the_answer_is_no_5xx(controller):
    rng = random.Random(11)
    good = orjson.dumps({**BODY, "stream": True, "temperature": 0.5, "stop": ["a"]})
    for _ in range(300):
        raw = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            place = rng.randrange(len(raw))
            raw[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        response = await controller.client.post(CHAT, content=bytes(raw))
        assert response.status_code in {200, 400, 404}, bytes(raw)
        assert response.is_success or response.json()["error"]["message"]
    await controller.idle()


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
async def test_a_body_over_the_limit_is_413(controller, worker, announced):
    raw = b'{"model": "toy", "messages": "' + b"x" * 5000 + b'"}'

    async def pieces():
        yield raw[:3000]
        yield raw[3000:]

    response = await controller.client.post(CHAT, content=raw if announced else pieces())

    assert response.status_code == 413
    assert response.json()["error"]["code"] == "body_too_large"
    assert not worker.asked


@pytest.mark.usefixtures("redis_server", "worker")
async def test_an_unknown_model_is_404(controller):
    response = await controller.client.post(CHAT, json={**BODY, "model": "nobody"})

    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    metrics = (await controller.client.get("/metrics")).text
    assert "nobody" not in metrics


async def test_without_any_worker_it_is_503_at_once(controller):
    response = await controller.client.post(CHAT, json=BODY)

    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1


async def test_a_loading_model_says_how_far_it_is(start_controller, announce):
    controller = await start_controller(cold_start_timeout=0)
    worker = FakeWorker(answer("fine"))
    worker.state, worker.progress = State.LOADING, 0.43
    await announce(worker)
    await controller.sees("worker-1", state="loading")

    response = await controller.client.post(CHAT, json=BODY)
    assert response.status_code == 503
    assert "loading" in response.json()["error"]["message"]
    assert "43" in response.json()["error"]["message"]
    assert int(response.headers["retry-after"]) >= 1

    (entry,) = (await controller.client.get("/v1/models")).json()["data"]
    assert (entry["state"], entry["progress"]) == ("loading", 0.43)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/stats"])
async def test_another_method_is_405(controller, method, path):
    if (method, path) == ("GET", "/v1/stats"):
        return
    response = await controller.client.request(method, path)

    assert response.status_code == 405
    assert response.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/chat", "/v1/embeddings", CHAT + "/", "/x/../y"])
async def test_an_unknown_path_is_404(controller, path):
    response = await controller.client.post(path, json=BODY)

    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"
    assert response.headers["x-request-id"]


@pytest.mark.usefixtures("redis_server", "worker")
async def test_models_have_openais_shape(controller):
    listed = (await controller.client.get("/v1/models")).json()

    assert listed["object"] == "list"
    (entry,) = listed["data"]
    assert entry == {
        "id": "toy",
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "llmzoo",
        "max_model_len": 512,
        "state": "ready",
    }
    assert (await controller.client.get("/v1/models/toy")).json() == entry
    missing = await controller.client.get("/v1/models/org/nobody")
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "model_not_found"


async def test_prometheus_targets_are_the_fleet(controller, worker):
    targets = (await controller.client.get("/metrics/targets")).json()

    assert {"targets": [f"127.0.0.1:{controller.port}"], "labels": {"service": "controller"}} in (
        targets
    )
    labels = {"service": "worker", "worker": "worker-1"}
    assert {"targets": [f"127.0.0.1:{worker.port}"], "labels": labels} in targets
    assert len(targets) == 2


async def test_metrics_stand_at_zero_from_the_start(controller):
    text = (await controller.client.get("/metrics")).text

    assert f'llmzoo_http_requests_total{{code="429",route="{CHAT}"}} 0.0' in text
    assert 'llmzoo_workers{model="",state="ready"} 0.0' in text
    assert 'llmzoo_cancellations_total{phase="waiting"} 0.0' in text
    assert 'llmzoo_router_retries_total{reason="unreachable"} 0.0' in text
    assert "llmzoo_inflight_requests 0.0" in text
    assert "process_resident_memory_bytes" in text


KEYED = [
    ("POST", CHAT),
    ("POST", "/v1/completions"),
    ("GET", "/v1/models"),
    ("GET", "/v1/stats"),
    ("GET", "/metrics"),
    ("GET", "/metrics/targets"),
    ("GET", "/version"),
    ("GET", "/nowhere"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
]
HEADERS = [
    {},
    {"authorization": "Bearer wrong"},
    {"authorization": "Bearer"},
    {"authorization": "Basic key-1"},
    {"authorization": "key-1"},
    {"authorization": b"Bearer \xff\xfe"},
]


async def test_every_route_but_health_asks_for_a_key(start_controller, announce):
    controller = await start_controller(api_keys="key-1, key-2")
    worker = FakeWorker(answer("fine"))
    await announce(worker)
    for method, path in KEYED:
        for headers in HEADERS:
            response = await controller.client.request(method, path, headers=headers)
            assert response.status_code == 401, (path, headers)
            assert response.json()["error"]["type"] == "authentication_error"
            assert response.headers["x-request-id"]
    for path in ("/health/live", "/health/ready"):
        assert (await controller.client.get(path)).status_code != 401
    for key in ("key-1", "key-2"):
        headers = {"authorization": f"Bearer {key}"}
        assert (await controller.client.get("/v1/models", headers=headers)).status_code == 200
    assert not worker.asked


@pytest.mark.parametrize(("asked", "told"), [(None, "interactive"), ("Batch", "batch")])
async def test_the_priority_reaches_the_worker(controller, worker, asked, told):
    headers = {} if asked is None else {"x-llmzoo-priority": asked}
    response = await controller.client.post(CHAT, json=BODY, headers=headers)

    assert response.status_code == 200
    assert worker.asked[0].headers["x-llmzoo-priority"] == told


async def test_an_unknown_priority_is_400_and_named(controller, worker):
    headers = {"x-llmzoo-priority": "urgent"}
    response = await controller.client.post(CHAT, json=BODY, headers=headers)

    assert response.status_code == 400
    assert "x-llmzoo-priority" in response.json()["error"]["message"]
    assert not worker.asked


async def test_a_clients_key_does_not_reach_the_worker(start_controller, announce):
    controller = await start_controller(api_keys="key-1")
    worker = FakeWorker(answer("fine"))
    await announce(worker)
    headers = {"authorization": "Bearer key-1"}
    controller.client.headers.update(headers)
    await controller.sees("worker-1")

    response = await controller.client.post(CHAT, json=BODY)

    assert response.status_code == 200
    assert "key-1" not in str(worker.asked[0].headers)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("LLMZOO_CONTROLLER_PORT", "many"), ("LLMZOO_API_KEYS_FILE", "/nowhere/keys")],
)
async def test_a_wrong_setting_is_named_and_ends_the_process_with_2(variable, value):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.controller"),
        env=child_environment({"LLMZOO_CONTROLLER_PORT": "19999", variable: value}),
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await process.communicate()

    assert process.returncode == 2
    assert variable.encode() in told
    assert told.count(b"\n") == 1
