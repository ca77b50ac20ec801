"""The OpenAPI document, and schemathesis over it: whatever is sent, the answer is no 5xx."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys

import pytest

from tests.fakes.command_line import PROJECT, clean_environment
from tests.fakes.running_worker import RunningWorker
from tests.fakes.scripted_model import scripted_model
from tests.fakes.waiting import eventually
from tests.integration.conftest import fleet_settings

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]

KEY = "a-key-for-all"
EXAMPLES = "20"


@pytest.fixture
async def keyed(start_controller):
    controller = await start_controller(api_keys=[KEY])
    controller.client.headers["authorization"] = f"Bearer {KEY}"
    return controller


async def test_the_document_is_behind_a_key_and_names_every_route(keyed):
    told = (await keyed.client.get("/openapi.json")).json()
    described = {
        (method.upper(), path.replace("{", "").replace("}", ""))
        for path, methods in told["paths"].items()
        for method in methods
    }
    assert described == {(method, path) for method, path in keyed.paths() if method != "HEAD"}
    chat = told["components"]["schemas"]["ChatCompletionRequest"]
    assert {"model", "messages", "temperature", "stream"} <= chat["properties"].keys()
    assert chat["required"] == ["model", "messages"]

    del keyed.client.headers["authorization"]
    assert (await keyed.client.get("/openapi.json")).status_code == 401


@pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not installed"
)
async def test_schemathesis_finds_no_server_error(keyed, redis_server):
    served, _ = scripted_model("Hello!", max_num_seqs=32, max_waiting=512)
    worker = await RunningWorker.with_model(served, **fleet_settings(redis_server.url))
    try:

        async def ready():
            models = (await keyed.client.get("/v1/models")).json()["data"]
            return [model["state"] for model in models] == ["ready"]

        await eventually(ready)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{keyed.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {KEY}"),
            *("--checks", "not_a_server_error", "--max-examples", EXAMPLES),
            *("--phases", "examples,coverage,fuzzing", "--seed", "7"),
            env=clean_environment(
                PYTHONPATH=os.pathsep.join([str(PROJECT), *sys.path]),
                SCHEMATHESIS_HOOKS="tests.fakes.schemathesis_hooks",
            ),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=PROJECT,
        )
        output = (await process.communicate())[0].decode()
        assert process.returncode == 0, output
        asked = await keyed.metric("llmzoo_http_requests_total", route="/v1/chat/completions")
        answered = await worker.metric("llmzoo_request_success_total")
        assert asked > 50, output
        assert answered > 5, output
        await keyed.idle()
    finally:
        await worker.stop()
