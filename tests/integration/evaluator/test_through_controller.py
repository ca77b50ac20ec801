"""The evaluator, asked at the controller's address."""

from __future__ import annotations

import pytest

from tests.fakes.evaluations import QUESTIONS, RUN, spec
from tests.fakes.running_service import TOKEN
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]


async def test_an_evaluation_is_made_run_and_read_there(start_controller, launch):
    controller = await start_controller()
    assert (await controller.client.post("/v1/evals", json=spec())).status_code == 503
    evaluator = launch(internal_token=TOKEN)
    await evaluator.start()

    async def created():
        response = await controller.client.post("/v1/evals", json=spec())
        return response if response.status_code != 503 else None

    await eventually(created)
    evaluation = (await controller.client.get("/v1/evals")).json()["data"][0]
    queued = await controller.client.post(f"/v1/evals/{evaluation['id']}/runs", json=RUN)
    path = queued.headers["location"]

    async def completed():
        return (await controller.client.get(path)).json()["status"] == "completed"

    await eventually(completed, seconds=20)
    items = await controller.client.get(f"{path}/output_items", params={"limit": 100})
    assert len(items.json()["data"]) == len(QUESTIONS)
    refused = await controller.client.post("/v1/evals", json={"mode": "guessing"})
    assert refused.status_code == 422
