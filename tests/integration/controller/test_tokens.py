"""`/tokenize` and `/detokenize` through the controller, to fake workers and to a real one."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from shared.protocol.workers import State
from tests.fakes.running_worker import RunningWorker
from tests.fakes.scripted_model import MODEL, scripted_model
from tests.fakes.waiting import eventually
from tests.fakes.worker_app import Cut, FakeWorker, Refusal, Silence, answer, steps
from tests.integration.conftest import fleet_settings

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]

ASK = {"model": "toy", "prompt": "hello"}
TOLD = b'{"count":1,"max_model_len":512,"tokens":[5],"token_strs":null}'
ANSWERS = steps(Refusal(200, TOLD, {"content-type": "application/json"}))


async def test_texts_become_tokens_and_tokens_texts(redis_server, controller):
    served, _ = scripted_model()
    worker = await RunningWorker.with_model(served, **fleet_settings(redis_server.url))
    try:
        await eventually(lambda: _listed(controller))
        asked = {"model": MODEL, "prompt": "the 😀", "return_token_strs": True}
        there = await controller.client.post("/tokenize", json=asked)
        direct = await worker.client.post("/tokenize", json=asked)
        assert there.status_code == 200
        assert there.content == direct.content
        ids = {"model": MODEL, "tokens": there.json()["tokens"]}
        back = await controller.client.post("/detokenize", json=ids)
        assert back.json() == {"prompt": "the 😀"}
        odd = await controller.client.post("/tokenize", json={**asked, "odd": 1})
        assert odd.status_code == 400
        assert odd.json()["error"]["param"] == "odd"
    finally:
        await worker.stop()


async def _listed(controller):
    models = (await controller.client.get("/v1/models")).json()["data"]
    return [(each["id"], each["state"]) for each in models] == [(MODEL, "ready")]


async def test_bytes_and_the_request_id_go_on_unchanged(controller, worker):
    worker.script = ANSWERS
    raw = b' {"prompt":"\\u0041",  "model":"toy"}'
    sent = {"x-request-id": "r-77", "authorization": "Bearer the client's own"}
    response = await controller.client.post("/tokenize", content=raw, headers=sent)
    assert response.content == TOLD
    [asked] = worker.asked
    assert (asked.path, asked.body) == ("/tokenize", raw)
    assert asked.headers["x-request-id"] == "r-77"
    assert "client" not in asked.headers.get("authorization", "")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{}", 400, "missing_required_parameter"),
        (b'{"model": 7}', 400, "invalid_type"),
        (b"{", 400, "invalid_json"),
        (b'{"model": "nobody"}', 404, "model_not_found"),
        (b"x" * 3_000_000, 413, "body_too_large"),
    ],
)
async def test_what_is_wrong_is_refused(controller, worker, body, status, code):
    response = await controller.client.post("/detokenize", content=body)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert not worker.asked
    assert (await controller.client.get("/tokenize")).status_code == 405


async def test_a_loading_model_is_503(controller, announce):
    worker = FakeWorker(answer("fine"))
    worker.state, worker.progress = State.LOADING, 0.43
    await announce(worker)
    await controller.sees("worker-1", state="loading")
    response = await controller.client.post("/tokenize", json=ASK)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "model_not_ready"
    assert int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("fault", [Cut(), Refusal(500), Refusal(503)], ids=["cut", "500", "503"])
async def test_another_worker_is_asked_when_one_fails(controller, announce, fault):
    workers = [FakeWorker(steps(fault), name=f"worker-{n}") for n in range(2)]
    for worker in workers:
        await announce(worker)
    await controller.sees("worker-0", "worker-1")
    failed = await controller.client.post("/tokenize", json=ASK)
    expected = 503 if isinstance(fault, Refusal) and fault.status == 503 else 502
    assert failed.status_code == expected
    assert [len(worker.asked) for worker in workers] == [1, 1]

    workers[1].script = ANSWERS
    for _ in range(6):  # whichever is asked first
        assert (await controller.client.post("/tokenize", json=ASK)).content == TOLD


async def test_a_client_that_leaves_frees_the_worker(controller, worker):
    worker.script = steps(Silence())
    asking = asyncio.create_task(controller.client.post("/tokenize", json=ASK))
    await worker.until(lambda: worker.running == 1)
    asking.cancel()
    await worker.until(lambda: worker.running == 0)


async def test_a_worker_that_is_gone_is_503(controller, worker):
    await worker.stop()
    response = await controller.client.post("/tokenize", content=orjson.dumps(ASK))
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "unavailable"
