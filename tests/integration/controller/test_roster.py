"""The roster against a real Redis: any order of starts, deaths, withdrawals, and outages."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time

import httpx
import pytest
import redis

from services.controller.fleet.watcher import FIRST_LOOK_SECONDS
from shared.protocol.sse import DONE
from shared.protocol.workers import State
from shared.registry import keys
from shared.registry.record import sign
from shared.settings import ControllerSettings, child_environment
from tests.fakes.chat_request import BODY, CHAT, STREAM
from tests.fakes.running_controller import RunningController
from tests.fakes.running_service import TOKEN
from tests.fakes.waiting import eventually
from tests.fakes.worker_app import FakeWorker, answer, end, start, steps, tokens, unary_body
from tests.integration.conftest import TTL_SECONDS, fleet_settings

pytestmark = pytest.mark.redis


@pytest.mark.parametrize("order", ["rcw", "rwc", "crw", "cwr", "wrc", "wcr"])
async def test_redis_controller_and_worker_start_in_any_order(
    unstarted_redis, start_controller, announce, order
):
    controller = None
    for letter in order:
        match letter:
            case "r":
                unstarted_redis.start()
            case "c":
                controller = await start_controller()
            case "w":
                await announce(FakeWorker(answer("fine")))
    assert controller is not None
    await controller.sees("worker-1")

    response = await controller.client.post(CHAT, json=BODY)

    assert response.content == unary_body(["fine"])
    assert (await controller.client.get("/health/ready")).status_code == 200


async def test_without_redis_a_new_controller_lives_and_is_not_ready(start_controller):
    controller = await start_controller()

    assert (await controller.client.get("/health/live")).status_code == 200
    assert (await controller.client.get("/health/ready")).status_code == 503
    assert (await controller.client.post(CHAT, json=BODY)).status_code == 503
    assert (await controller.stats())["registry"] == {
        "reachable": False,
        "staleness_seconds": None,
    }


async def test_the_first_request_of_a_new_controller_finds_the_fleet(
    redis_server, start_controller, announce, tmp_path
):
    await announce(FakeWorker(answer("fine")))
    await (await start_controller()).sees("worker-1")
    settings = fleet_settings(redis_server.url, call_store_dir=tmp_path / "calls")

    new = RunningController(ControllerSettings(**settings))
    try:
        # Its socket listens before it knows anything; who connects now waits.
        response = await new.client.post(CHAT, json=BODY)
    finally:
        await new.stop()

    assert response.status_code == 200


async def test_a_silent_registry_holds_up_a_new_controller_for_a_moment(
    redis_server, start_controller
):
    redis_server.freeze()
    began = time.monotonic()

    controller = await start_controller()

    assert time.monotonic() - began < FIRST_LOOK_SECONDS + 2
    assert (await controller.client.get("/health/ready")).status_code == 503


WORKER_PROCESS = """
import sys, time
from prometheus_client import CollectorRegistry
from shared.protocol.sse import DONE
from shared.protocol.workers import Load, ModelInfo, ServiceRecord
from shared.registry import Heartbeat, HeartbeatMetrics
from shared.settings import FleetSettings
record = ServiceRecord(id="worker-1", kind="worker", address=sys.argv[1], incarnation="",
    state="ready", models=(ModelInfo(id="toy"),), load=Load(max_num_seqs=4))
Heartbeat(FleetSettings(), lambda: record, HeartbeatMetrics(CollectorRegistry())).start()
time.sleep(60)
"""


async def test_a_killed_worker_expires(redis_server, start_controller):
    controller = await start_controller()
    environment = {
        "LLMZOO_REDIS_URL": redis_server.url,
        "LLMZOO_INTERNAL_TOKEN": TOKEN,
        "LLMZOO_HEARTBEAT_INTERVAL": "0.1",
        "LLMZOO_HEARTBEAT_TTL": str(TTL_SECONDS),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WORKER_PROCESS, "http://127.0.0.1:9"),
        env=child_environment(environment),
    )
    try:
        await controller.sees("worker-1")
    finally:
        process.kill()
        await process.wait()
    killed = time.monotonic()

    await controller.sees()

    assert time.monotonic() - killed < 2 * TTL_SECONDS
    response = await controller.client.post(CHAT, json=BODY)
    assert response.status_code == 503
    # Its target stays, so that Prometheus shows it as down.
    targets = (await controller.client.get("/metrics/targets")).json()
    assert {
        "targets": ["127.0.0.1:9"],
        "labels": {"service": "worker", "worker": "worker-1"},
    } in targets


@pytest.mark.usefixtures("redis_server")
async def test_a_withdrawn_worker_is_gone_within_a_second(start_controller, announce):
    # With these beats only the hint can be in time.
    slow = {"heartbeat_interval": 30, "heartbeat_ttl": 90}
    controller = await start_controller(**slow)
    worker = FakeWorker(answer("fine"))
    announcement = await announce(worker, **slow)
    await controller.sees("worker-1")
    withdrawn = time.monotonic()
    await announcement.withdraw()

    await controller.sees()

    assert time.monotonic() - withdrawn < 1
    assert (await controller.client.post(CHAT, json=BODY)).status_code == 503


@pytest.mark.usefixtures("redis_server")
async def test_a_draining_worker_gets_nothing_new(start_controller, announce):
    controller = await start_controller()
    draining, other = (FakeWorker(answer(n), name=f"worker-{n}") for n in "ab")
    other.load = other.load.model_copy(update={"running": 3})
    announcement = await announce(draining)
    await announce(other)
    await controller.sees("worker-a", "worker-b")
    draining.state = State.DRAINING
    announcement.heartbeat.poke()

    async def seen():
        services = (await controller.stats())["services"]
        return any(s["state"] == "draining" for s in services)

    await eventually(seen)
    response = await controller.client.post(CHAT, json=BODY)

    assert response.content == unary_body(["b"])


@pytest.mark.usefixtures("redis_server")
async def test_a_record_signed_with_another_token_is_refused(start_controller, announce):
    controller = await start_controller()
    announcement = await announce(FakeWorker(answer("fine")), internal_token="another")

    async def refused():
        return bool((await controller.stats())["refused"])

    await eventually(refused)

    (entry,) = (await controller.stats())["refused"]
    assert entry["id"] == "worker-1"
    assert "token" in entry["reason"]
    assert (await controller.client.post(CHAT, json=BODY)).status_code == 503
    await eventually(lambda: _is_told(announcement, "token"))


async def _is_told(announcement, word):
    return word in announcement.heartbeat.refusal


@pytest.mark.parametrize("address", ["http://8.8.8.8:80", "http://evil.example:80", "ftp://x"])
@pytest.mark.usefixtures("redis_server")
async def test_an_address_outside_the_networks_is_refused(start_controller, announce, address):
    class Elsewhere(FakeWorker):
        address = ""

    controller = await start_controller()
    worker = Elsewhere(answer("fine"))
    Elsewhere.address = address
    announcement = await announce(worker)

    await eventually(lambda: _is_told(announcement, "address"))

    (entry,) = (await controller.stats())["refused"]
    assert address in entry["reason"]
    assert (await controller.client.post(CHAT, json=BODY)).status_code == 503


async def test_a_record_under_anothers_name_is_refused(redis_server, start_controller):
    controller = await start_controller()
    worker = await FakeWorker(answer("fine")).start()
    with redis.Redis.from_url(redis_server.url) as client:
        client.set(keys.service("worker-9"), sign(worker.record(), TOKEN))
        client.set(keys.service("garbage"), b"\xff\x00 nonsense")
        client.sadd(keys.SERVICES, "worker-9", "garbage")

    async def refused():
        return len((await controller.stats())["refused"]) == 2

    await eventually(refused)
    assert (await controller.client.post(CHAT, json=BODY)).status_code == 503
    await worker.stop()


@pytest.mark.usefixtures("redis_server")
async def test_requests_go_to_the_least_loaded(start_controller, announce):
    workers = [FakeWorker(answer("x"), name=f"worker-{n}") for n in range(3)]
    gate = asyncio.Event()
    for worker in workers:
        worker.script = steps(start(), gate, tokens(1, "a"), end(1))
        await announce(worker, heartbeat_interval=30, heartbeat_ttl=90)
    controller = await start_controller(heartbeat_interval=30, heartbeat_ttl=90)
    await controller.sees("worker-0", "worker-1", "worker-2")

    # Reports are old: only the controller's own count spreads these evenly.
    posts = [asyncio.create_task(controller.client.post(CHAT, json=STREAM)) for _ in range(9)]

    async def all_there():
        return sum(worker.running for worker in workers) == 9

    await eventually(all_there)
    inflight = {s["id"]: s["inflight"] for s in (await controller.stats())["services"]}
    gate.set()
    await asyncio.gather(*posts)

    assert [worker.running or len(worker.asked) for worker in workers] == [3, 3, 3]
    assert {inflight[worker.name] for worker in workers} == {3}
    await controller.idle()


async def _announced(client):
    names = [name.decode() for name in client.smembers(keys.SERVICES)]
    return client.mget([keys.service(name) for name in names]) if names else []


async def test_sigterm_drains_a_controller_process(redis_server, announce):
    gate = asyncio.Event()
    worker = FakeWorker(steps(start(), tokens(1, "a"), gate, tokens(2, "b"), end(2)))
    await announce(worker)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        "LLMZOO_REDIS_URL": redis_server.url,
        "LLMZOO_INTERNAL_TOKEN": TOKEN,
        "LLMZOO_CONTROLLER_PORT": str(port),
        "LLMZOO_HEARTBEAT_INTERVAL": "0.1",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.controller"),
        env=child_environment(environment),
        stderr=asyncio.subprocess.DEVNULL,
    )
    http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20)

    async def routable():
        try:
            models = (await http.get("/v1/models")).json()["data"]
        except httpx.TransportError:
            return False
        return bool(models) and (await http.get("/health/ready")).is_success

    try:
        with redis.Redis.from_url(redis_server.url) as client:

            async def draining():
                return any(b'"draining"' in (record or b"") for record in await _announced(client))

            await eventually(routable, 20)
            async with http.stream("POST", CHAT, json=STREAM) as response:
                pieces = response.aiter_raw()
                received = await anext(pieces)
                process.send_signal(signal.SIGTERM)
                await eventually(draining)
                gate.set()
                async for piece in pieces:
                    received += piece
            assert received.endswith(DONE)
            async with asyncio.timeout(10):
                assert await process.wait() == 0
            assert not any(b'"controller"' in (r or b"") for r in await _announced(client))
    finally:
        await http.aclose()
        if process.returncode is None:
            process.kill()
            await process.wait()
