"""Admin routes: workers one by one, out of service and back, and the queue."""

from __future__ import annotations

import asyncio

import pytest

from services.cli.top.view import rows, totals
from shared.protocol.workers import Load
from tests.fakes.chat_request import BODY, CHAT
from tests.fakes.command_line import LLMZOO, clean_environment
from tests.fakes.running_worker import INTERNAL, RunningWorker
from tests.fakes.scripted_model import MODEL, scripted_model
from tests.fakes.waiting import eventually
from tests.fakes.worker_app import FakeWorker, Refusal, Silence, end, start, steps, tokens
from tests.integration.conftest import fleet_settings

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]

ASK = {**BODY, "model": MODEL}
ROUTING = {"speed", "breaker", "occupied", "kv_use", "decode_tokens_per_second"}


@pytest.fixture
async def real(redis_server):
    """A real worker with a scripted model, announced; and its runner."""
    served, runner = scripted_model("Hello!")
    worker = await RunningWorker.with_model(served, **fleet_settings(redis_server.url))
    yield worker, runner
    runner.go()
    await worker.stop()


async def workers(controller):
    return (await controller.client.get("/admin/workers")).json()["data"]


async def in_state(controller, state):
    async def holds():
        return [worker["state"] for worker in await workers(controller)] == [state]

    await eventually(holds)


async def test_a_drained_worker_finishes_and_gets_nothing_new_until_it_is_undone(
    start_controller, real
):
    one, other = await start_controller(), await start_controller()
    worker, runner = real
    for controller in (one, other):
        await in_state(controller, "ready")
    name = (await workers(one))[0]["id"]
    runner.hold()
    running = asyncio.create_task(one.client.post(CHAT, json=ASK))

    async def held():
        return await worker.metric("llmzoo_num_requests_running") == 1

    await eventually(held)
    told = await one.client.post(f"/admin/workers/{name}/drain")

    assert told.json() == {"id": name, "object": "worker", "draining": True}
    for controller in (one, other):
        await in_state(controller, "draining")
        refused = await controller.client.post(CHAT, json=ASK)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "model_not_ready"
    assert not running.done()
    runner.go()
    assert (await running).status_code == 200
    assert "undo" in (await one.client.get(f"/admin/workers/{name}")).json()["detail"]

    undone = await other.client.delete(f"/admin/workers/{name}/drain")
    assert undone.json()["draining"] is False
    for controller in (one, other):
        await in_state(controller, "ready")
        assert (await controller.client.post(CHAT, json=ASK)).status_code == 200


@pytest.mark.usefixtures("real")
async def test_the_command_drains_and_undoes(controller):
    await in_state(controller, "ready")
    name = (await workers(controller))[0]["id"]

    async def llmzoo(*arguments):
        process = await asyncio.create_subprocess_exec(
            *LLMZOO,
            *arguments,
            env=clean_environment(LLMZOO_BASE_URL=controller.url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    code, out, _ = await llmzoo("drain", name)
    assert (code, name in out) == (0, True)
    await in_state(controller, "draining")
    assert (await llmzoo("drain", name, "--undo"))[0] == 0
    await in_state(controller, "ready")
    code, _, err = await llmzoo("drain", "worker/../nobody")
    assert code == 1
    assert "There is no" in err


async def test_a_worker_drains_for_the_fleet_alone(real):
    worker, _ = real
    drain = {"draining": True}
    assert (await worker.client.post("/internal/drain", json=drain)).status_code == 401
    odd = await worker.client.post("/internal/drain", json={"draining": "x"}, headers=INTERNAL)
    assert (odd.status_code, odd.json()["error"]["param"]) == (400, "draining")
    assert await worker.ready()


async def test_workers_are_told_with_what_routing_knows(controller, worker):
    [entry] = await workers(controller)
    assert entry["id"] == worker.name
    assert entry["routing"].keys() >= ROUTING
    assert entry["routing"]["breaker"] == "closed"
    stats = await controller.stats()
    assert [row[0] for row in rows(stats)] == [worker.name]
    assert totals(stats).startswith("1 of 1 workers ready · 0 sent")
    one = (await controller.client.get(f"/admin/workers/{worker.name}")).json()
    assert one.keys() == entry.keys()
    # The controller itself is no worker.
    [own] = [s for s in (await controller.stats())["services"] if s["kind"] == "controller"]
    for path in (f"/admin/workers/{own['id']}", "/admin/workers/nobody"):
        missing = await controller.client.get(path)
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("odd", [Refusal(404), Refusal(500), Silence()], ids=["404", "500", "-"])
async def test_a_worker_that_does_not_drain_is_a_bad_gateway(controller, announce, odd):
    worker = FakeWorker(steps(odd))
    await announce(worker)
    await controller.sees(worker.name)
    response = await controller.client.post(f"/admin/workers/{worker.name}/drain")
    assert response.status_code == (504 if isinstance(odd, Silence) else 502)


async def test_the_queue_is_shown_and_one_request_taken_out_of_it(start_controller, announce):
    controller = await start_controller()
    gate = asyncio.Event()
    worker = FakeWorker(steps(start(), gate, tokens(1, "a"), end(1)))
    worker.load = Load(max_num_seqs=1)
    await announce(worker)
    await controller.sees(worker.name)

    def ask(name, priority="interactive"):
        headers = {"x-request-id": name, "x-llmzoo-priority": priority}
        return asyncio.create_task(controller.client.post(CHAT, json=BODY, headers=headers))

    async def queue():
        return (await controller.client.get("/admin/queue")).json()["data"]

    async def waiting(*names):
        async def holds():
            return [entry["id"] for entry in await queue()] == list(names)

        await eventually(holds)

    running = []
    while len(running) < 3:  # the worker's place and what may wait in it
        running.append(ask(f"running-{len(running)}"))
        await worker.until(lambda: worker.running == len(running))
    batch = ask("batch-1", "batch")
    await waiting("batch-1")
    first = ask("first")
    await waiting("first", "batch-1")
    assert (await controller.stats())["queue"] == {"interactive": 1, "batch": 1}
    entry = (await queue())[1]
    assert (entry["model"], entry["priority"], entry["key"]) == ("toy", "batch", "anonymous")
    assert entry["seconds"] >= 0

    cancelled = await controller.client.delete("/admin/queue/batch-1")
    assert cancelled.json()["cancelled"] is True
    refused = await batch
    assert (refused.status_code, refused.json()["error"]["code"]) == (410, "request_cancelled")
    await waiting("first")
    for name in ("batch-1", "running-0", "nobody"):
        assert (await controller.client.delete(f"/admin/queue/{name}")).status_code == 404

    gate.set()
    answers = await asyncio.gather(*running, first)
    assert {each.status_code for each in answers} == {200}
    assert await queue() == []
    await controller.idle()
