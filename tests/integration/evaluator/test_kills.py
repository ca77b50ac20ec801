"""Evaluators, gateways and Redis killed at random points of a run, over a real controller."""

from __future__ import annotations

import contextlib
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import redis.asyncio as aredis

from services.evaluator.jobs.connection import StoreUnreachable
from services.evaluator.jobs.ids import Ids
from services.evaluator.jobs.store import EvalStore
from tests.fakes.controller_process import ControllerProcess
from tests.fakes.eval_specs import run_spec
from tests.fakes.killed_evaluators import (
    JobsProcess,
    Models,
    assert_as_undisturbed,
    killed_at_random,
    spec_of,
    undisturbed,
)
from tests.fakes.running_service import TOKEN
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.redis

KILLS, QUESTIONS, WIDTH, LEASE = 10, 300, 16, 2.5


class Disturbed:
    """A run by a real process, over a real controller, that a test disturbs."""

    def __init__(self, redis_url: str, models: Models, chance: random.Random) -> None:
        self._redis_url = redis_url
        self.models, self.chance = models, chance

    async def to_its_end(
        self,
        process: JobsProcess,
        disturb: Callable[[], Awaitable[None]],
        repeated_at_most: int = 0,
    ) -> None:
        clean = await undisturbed(self._redis_url, QUESTIONS)
        async with aredis.Redis.from_url(self._redis_url, socket_timeout=None) as client:
            store = EvalStore(client, Ids("token"))
            evaluation, _ = await store.create_eval(spec_of(QUESTIONS), force_new=True)
            run, _ = await store.create_run(evaluation, run_spec("ext/candidate"))
            try:
                await process.start()
                await disturb()

                async def over() -> bool:
                    with contextlib.suppress(StoreUnreachable):
                        return (await store.get_run(run.eval_id, run.id)).status.over
                    return False

                await eventually(over, seconds=60)
            finally:
                await process.kill()
            await assert_as_undisturbed(
                store, client, run, self.models, clean, repeated_at_most=repeated_at_most
            )

    async def half_way(self) -> None:
        """Wait until a random part of the calls was made."""
        some = self.chance.randint(QUESTIONS // 4, QUESTIONS)
        await eventually(lambda: len(self.models.asked) >= some, seconds=60)


@pytest.fixture
async def disturbed(unstarted_redis) -> AsyncIterator[Disturbed]:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    models = Models(chance)
    await models.start()
    yield Disturbed(unstarted_redis.url, models, chance)
    await models.stop()


async def test_ten_kills_change_nothing_and_repeat_no_call(
    redis_server, disturbed, start_controller, tmp_path
):
    models = disturbed.models
    controller = await start_controller(endpoints_file=models.endpoint(tmp_path))
    log = tmp_path / "jobs.log"
    process = JobsProcess(log, redis_server.url, controller.url, WIDTH, LEASE)
    await disturbed.to_its_end(
        process,
        lambda: killed_at_random([process], models, disturbed.chance, KILLS, 2 * QUESTIONS),
    )


async def test_a_killed_gateway_repeats_at_most_what_was_in_flight(
    redis_server, disturbed, tmp_path
):
    controller = ControllerProcess(
        tmp_path / "controller.log",
        redis_url=redis_server.url,
        internal_token=TOKEN,
        endpoints_file=disturbed.models.endpoint(tmp_path),
        call_store_dir=tmp_path / "calls",
    )
    await controller.start()
    process = JobsProcess(tmp_path / "jobs.log", redis_server.url, controller.url, WIDTH, LEASE)

    async def disturb() -> None:
        await disturbed.half_way()
        await controller.kill()
        await controller.start()

    try:
        await disturbed.to_its_end(process, disturb, repeated_at_most=WIDTH)
    finally:
        await controller.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["told", "killed"])
async def test_a_redis_that_comes_back_with_its_file_has_lost_nothing(
    unstarted_redis, disturbed, start_controller, tmp_path, number
):
    unstarted_redis.keeps = True
    unstarted_redis.start()
    controller = await start_controller(endpoints_file=disturbed.models.endpoint(tmp_path))
    process = JobsProcess(tmp_path / "jobs.log", unstarted_redis.url, controller.url, WIDTH, LEASE)

    async def disturb() -> None:
        await disturbed.half_way()
        unstarted_redis.kill(number)
        unstarted_redis.start()

    await disturbed.to_its_end(process, disturb, repeated_at_most=WIDTH)
