"""The evaluation API as users reach it: through the controller, which alone the evaluator trusts."""

from __future__ import annotations

import asyncio

import openai
import pytest

from services.controller.access.key_record import KEY_PREFIX
from tests.fakes.running_service import TOKEN
from tests.fakes.scripted_models import Reply
from tests.fakes.spec_readers import eval_body
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]

RUN = {"candidates": ["candidate"]}


@pytest.fixture
def models(models):
    models.reply = lambda _: Reply('{"reason": "fine", "score": 7}')
    return models


@pytest.fixture
async def evaluator(launch):
    process = launch(internal_token=TOKEN, evaluator_host="0.0.0.0")
    process._environment["LLMZOO_ADVERTISE"] = process.url
    await process.start()
    return process


@pytest.fixture
async def controller(start_controller, evaluator):  # noqa: ARG001 - it serves
    controller = await start_controller()

    async def served():
        return (await controller.client.get("/v1/evals")).status_code == 200

    await eventually(served)
    return controller


async def test_only_the_controller_may_ask(controller, evaluator):
    refused = await evaluator.client.get("/v1/evals")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert (await evaluator.client.get("/health/ready")).status_code == 200
    assert (await evaluator.client.get("/metrics")).status_code == 200
    assert (await controller.client.get("/v1/evals")).status_code == 200


async def test_everything_passes_that_is_needed(controller):
    client = controller.client
    key = {"idempotency-key": "one"}
    made = await client.post("/v1/evals", json=eval_body(), headers=key)
    again = await client.post("/v1/evals", json=eval_body(), headers=key)
    assert again.content == made.content
    assert again.headers["idempotent-replayed"] == "true"
    other = await client.post("/v1/evals", json=eval_body(name="x"), headers=key)
    assert other.json()["error"]["code"] == "idempotency_key_reused"

    path = made.headers["location"]
    run = (await client.post(f"{path}/runs", json=RUN)).headers["location"]
    async with asyncio.timeout(20), client.stream("GET", f"{run}/events") as stream:
        lines = [line async for line in stream.aiter_lines()]
    events = [line[4:] for line in lines if line.startswith("id: ")]
    assert len(events) > 1
    missed = await client.get(f"{run}/events", headers={"last-event-id": events[-2]})
    assert missed.text.count("id: ") == 1

    verdict = {"author": "Ada", "reason": "seen", "scores": [3]}
    changed = await client.patch(f"{run}/output_items/item_0", json=verdict)
    assert changed.json()["verdict"]["scores"] == [3]
    report = await client.get(f"{run}/report?format=csv")
    assert report.headers["content-disposition"].startswith("attachment")
    assert (await client.delete(path)).json()["deleted"]
    assert (await client.get(path)).status_code == 410


async def test_nobody_is_sent_to_the_evaluator_itself(controller):
    for path in ("/v1/evals/", "/v1/evals/eval_x/"):
        told = await controller.client.get(path)
        assert (told.status_code, told.headers.get("location")) == (404, None)


async def test_a_big_upload_passes(controller):
    questions = [{"text": f"{number} " + "x" * 900} for number in range(12_000)]
    made = await controller.client.post("/v1/evals", json=eval_body(questions=questions))
    assert made.status_code == 201
    assert made.json()["question_count"] == 12_000


async def test_keys_of_two_principals_do_not_meet(start_controller, evaluator):  # noqa: ARG001
    controller = await start_controller(api_keys=["first", "second"])
    key = {"idempotency-key": "same"}

    async def made(secret, name):
        headers = {**key, "authorization": f"Bearer {secret}"}
        return await controller.client.post("/v1/evals", json=eval_body(name=name), headers=headers)

    async def served():
        return (await made("first", "one")).status_code == 201

    await eventually(served)
    assert (await made("first", "two")).status_code == 422
    assert (await made("second", "two")).status_code == 201
    assert (await made(f"{KEY_PREFIX}no", "two")).status_code == 401


async def test_openais_client_comes_through(controller):
    async with openai.AsyncOpenAI(
        base_url=f"{controller.url}/v1", api_key="none", max_retries=0
    ) as client:
        found = [each async for each in await client.evals.list()]
        assert found == []
