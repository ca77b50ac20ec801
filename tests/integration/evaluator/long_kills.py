"""Fifty kills of a run of 10,000 units, 64 in work: `make test-long`, since it takes minutes."""

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

pytestmark = [pytest.mark.redis, pytest.mark.timeout(1500)]

KILLS, QUESTIONS, WIDTH, LEASE = 50, 5_000, 64, 5.0


@pytest.mark.parametrize("evaluators", [1, 2])
async def test_fifty_kills_change_nothing_and_repeat_no_call(
    redis_server, start_controller, tmp_path, evaluators
):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    models = Models(chance)
    await models.start()
    controller = await start_controller(endpoints_file=models.endpoint(tmp_path))
    processes = [
        JobsProcess(
            tmp_path / f"jobs-{number}.log", redis_server.url, controller.url,
            WIDTH // evaluators, LEASE,
        )
        for number in range(evaluators)
    ]  # fmt: skip
    clean = await undisturbed(redis_server.url, QUESTIONS)
    async with aredis.Redis.from_url(redis_server.url, socket_timeout=None) as client:
        store = EvalStore(client, Ids("token"))
        evaluation, _ = await store.create_eval(spec_of(QUESTIONS), force_new=True)
        run, _ = await store.create_run(evaluation, run_spec("ext/candidate"))
        try:
            for process in processes:
                await process.start()
            await killed_at_random(processes, models, chance, KILLS, 2 * QUESTIONS)

            async def over():
                return (await store.get_run(run.eval_id, run.id)).status.over

            await eventually(over, seconds=300)
        finally:
            for process in processes:
                await process.kill()
        await assert_as_undisturbed(store, client, run, models, clean)
    await models.stop()
