"""An evaluator as a process, between a real Redis and scripted models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aredis

from tests.fakes.eval_calls import ScriptedCalls
from tests.fakes.evaluations import obliging
from tests.fakes.evaluator_jobs import EvaluatorJobs
from tests.fakes.evaluator_process import EvaluatorProcess
from tests.fakes.scripted_models import ScriptedModels

Launch = Callable[..., EvaluatorProcess]


@pytest.fixture
async def models() -> AsyncIterator[ScriptedModels]:
    server = ScriptedModels(obliging)
    yield server
    server.gate.set()
    await server.stop()


@pytest.fixture
async def launch(
    unstarted_redis: Any, models: ScriptedModels, tmp_path: Path
) -> AsyncIterator[Launch]:
    """A function that makes an evaluator process; its arguments are settings."""
    made: list[EvaluatorProcess] = []

    def make(**settings: object) -> EvaluatorProcess:
        log = tmp_path / f"evaluator-{len(made)}.log"
        made.append(EvaluatorProcess(unstarted_redis.url, models.url, log, **settings))
        return made[-1]

    yield make
    for process in made:
        await process.close()


@pytest.fixture
async def evaluator(redis_server: Any, launch: Launch) -> EvaluatorProcess:  # noqa: ARG001 - runs
    process = launch()
    await process.start()
    return process


@pytest.fixture
async def redis(redis_server: Any) -> AsyncIterator[Any]:
    async with aredis.Redis.from_url(redis_server.url) as client:
        yield client


@pytest.fixture
def calls() -> ScriptedCalls:
    return ScriptedCalls()


@pytest.fixture
async def make_jobs(redis_server: Any, calls: ScriptedCalls) -> AsyncIterator[Any]:
    """A function that starts an evaluator's jobs in this process; its arguments are theirs."""
    made: list[EvaluatorJobs] = []

    def make(**options: Any) -> EvaluatorJobs:
        asked = options.pop("calls", calls)
        made.append(EvaluatorJobs(redis_server.url, asked, **options))
        return made[-1].start()

    yield make
    calls.gate.set()
    for jobs in made:
        await jobs.stop()


@pytest.fixture
async def jobs(make_jobs: Any) -> EvaluatorJobs:
    return make_jobs()
