"""Workers are killed, stopped and told to end under 64 live answers; no client loses a token.

The workers and the controller are processes of their own. The longest stall that a client sees is
printed; `step` is what the mock engine itself takes from one token to the next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.bench.gateway.wire import Target
from tests.fakes.controller_process import ControllerProcess
from tests.fakes.crowd import ALL_WELL, Crowd
from tests.fakes.mixed_requests import mix
from tests.fakes.mock_process import MockProcess
from tests.fakes.returning_client import ReturningClient
from tests.fakes.running_service import TOKEN
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.timeout(120)]

STEP = 0.04
TOKENS = 50
ANSWERS = 64
SILENCE = 1.5

StartWorker = Callable[..., Awaitable[MockProcess]]


@pytest.fixture
async def start_worker(redis_server) -> AsyncIterator[StartWorker]:
    started: list[MockProcess] = []

    async def start(name: str, **options: Any) -> MockProcess:
        chosen = {"step_ms": STEP * 1e3, "prefill_rate": 1e6, **options}
        started.append(await MockProcess.start(name, redis_server.url, **chosen))
        return started[-1]

    yield start
    for worker in started:
        await worker.kill()


@pytest.fixture
async def controller(redis_server, tmp_path) -> AsyncIterator[ControllerProcess]:
    """A controller that is being started."""
    controller = ControllerProcess(
        tmp_path / "controller.log",
        redis_url=redis_server.url,
        internal_token=TOKEN,
        heartbeat_interval=0.1,
        heartbeat_ttl=1.0,
        upstream_timeout=SILENCE,
        call_store_dir=tmp_path / "calls",
        log_level="info",
    )
    yield controller
    await controller.stop()


@pytest.fixture
async def workers(start_worker: StartWorker, controller: ControllerProcess) -> list[MockProcess]:
    names = [f"mock-{index}" for index in range(3)]
    _, *workers = await asyncio.gather(controller.start(), *map(start_worker, names))
    await sees(controller, *names)
    return workers


async def sees(controller: ControllerProcess, *names: str) -> None:
    async def seen() -> bool:
        services = (await controller.client.get("/v1/stats")).json()["services"]
        ready = {s["id"] for s in services if s["kind"] == "worker" and s["state"] == "ready"}
        return ready == set(names)

    await eventually(seen)


@contextlib.asynccontextmanager
async def crowd(controller: ControllerProcess) -> AsyncIterator[Crowd]:
    """A mix of answers under way; at the end each is whole and as it had to be."""
    client = ReturningClient([Target("127.0.0.1", controller.port)], patience=60)
    async with Crowd(client, mix(ANSWERS, tokens=TOKENS)) as asking:
        await asking.under_way(6)
        yield asking
        await asking.whole()
        assert asking.found() == ALL_WELL
        assert sum(told.losses for told in asking.answers) == 0

    async def idle() -> bool:
        return await controller.metric("llmzoo_inflight_requests") == 0

    await eventually(idle)


def report(record_property, what: str, asking: Crowd) -> dict[str, float]:
    stalls = asking.stalls(STEP)
    record_property(what, stalls)
    print(f"{what}: client-visible stall beyond a step, ms: {stalls}")
    return stalls


async def counts(*workers: MockProcess) -> dict[str, int]:
    found = [await worker.counts() for worker in workers]
    return {
        name: sum(each.get(name, 0) for each in found) for name in found[0].keys() | {"resumed"}
    }


async def test_one_of_three_is_killed(controller, workers, record_property):
    async with crowd(controller) as asking:
        await workers[0].kill()
    stalls = report(record_property, "kill", asking)
    assert (await counts(*workers[1:]))["resumed"] > 10
    assert stalls["p99"] < 1_000


async def test_two_of_three_are_killed_in_turn(controller, workers, record_property):
    async with crowd(controller) as asking:
        await workers[0].kill()
        await asking.under_way(6)
        await workers[1].kill()
    report(record_property, "two kills", asking)
    assert (await counts(workers[2]))["resumed"] > 20


async def test_one_of_three_is_stopped_and_silent(controller, workers, record_property):
    async with crowd(controller) as asking:
        workers[0].freeze()
    stalls = report(record_property, "SIGSTOP", asking)
    assert (await counts(*workers[1:]))["resumed"] > 10
    assert stalls["p99"] < SILENCE * 1e3 + 1_000


async def test_each_in_turn_is_told_to_end_and_started_again(
    controller, workers, start_worker: StartWorker, record_property
):
    """Whatever does not finish in its drain time goes on elsewhere."""
    names = {worker.name for worker in workers}
    running = {worker.name: worker for worker in workers}
    client = ReturningClient([Target("127.0.0.1", controller.port)], patience=60)
    async with Crowd(client, mix(ANSWERS, tokens=4 * TOKENS)) as asking:
        await asking.under_way(6)
        for name in sorted(names):
            running[name].terminate()
            assert await running[name].ended() == 0
            running[name] = await start_worker(name)
            await sees(controller, *names)
            await asking.under_way(3)
        await asking.whole()
    report(record_property, "rolling restart", asking)
    assert asking.found() == ALL_WELL
    assert sum(told.losses for told in asking.answers) == 0
