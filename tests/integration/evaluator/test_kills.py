"""Evaluators killed at random points of a run, with the real controller and its call store."""

from __future__ import annotations

import random

import pytest
import redis.asyncio as aredis

from services.evaluator.jobs.ids import Ids
from services.evaluator.jobs.store import EvalStore
from tests.fakes.eval_specs import run_spec
from tests.fakes.killed_evaluators import (
    JobsProcess,
    Models,
    assert_as_undisturbed,
    killed_at_random,
    spec_of,
    undisturbed,
)
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.redis

KILLS, QUESTIONS, WIDTH, LEASE = 10, 300, 16, 2.5


async def test_ten_kills_change_nothing_and_repeat_no_call(
    redis_server, start_controller, tmp_path
):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    models = Models(chance)
    await models.start()
    controller = await start_controller(endpoints_file=models.endpoint(tmp_path))
    log = tmp_path / "jobs.log"
    process = JobsProcess(log, redis_server.url, controller.url, WIDTH, LEASE)
    clean = await undisturbed(redis_server.url, QUESTIONS)
    async with aredis.Redis.from_url(redis_server.url, socket_timeout=None) as client:
        store = EvalStore(client, Ids("token"))
        evaluation, _ = await store.create_eval(spec_of(QUESTIONS), force_new=True)
        run, _ = await store.create_run(evaluation, run_spec("ext/candidate"))
        try:
            await process.start()
            await killed_at_random([process], models, chance, KILLS, 2 * QUESTIONS)

            async def over():
                return (await store.get_run(run.eval_id, run.id)).status.over

            await eventually(over, seconds=60)
        finally:
            await process.kill()
        await assert_as_undisturbed(store, client, run, models, clean)
    await models.stop()
