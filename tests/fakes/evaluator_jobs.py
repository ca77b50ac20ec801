"""The jobs of an evaluator in the test's event loop: several of them share one Redis."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import redis.asyncio as aredis
from prometheus_client import CollectorRegistry
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from services.evaluator.jobs.execution import Execution
from services.evaluator.jobs.ids import Ids
from services.evaluator.jobs.material import RunMaterial
from services.evaluator.jobs.queue import LEASE_SECONDS, Queue
from services.evaluator.jobs.runner import Runner
from services.evaluator.jobs.store import EvalStore
from services.evaluator.jobs.works import Works
from services.evaluator.metrics import EvaluatorMetrics
from shared.protocol.evals.run import Evaluation, Run, RunSpec
from shared.protocol.evals.spec import EvalSpec
from tests.fakes.eval_calls import FlatEstimates, assess


class EvaluatorJobs:
    """A runner with its store."""

    def __init__(
        self,
        redis_url: str,
        calls: Any,
        *,
        width: int = 8,
        estimates: Any = None,
        assessing: Any = assess,
        lease: float = LEASE_SECONDS,
        socket_timeout: float | None = None,
    ) -> None:
        self.redis: Any = _client(redis_url, socket_timeout)
        self.following: Any = _client(redis_url, None)
        self.consumer = uuid.uuid4().hex
        self.store = EvalStore(self.redis, Ids("token"), self.following)
        metrics = EvaluatorMetrics(CollectorRegistry())
        self.queue = Queue(self.redis, self.consumer, lease)
        self.works = Works(self.redis, self.queue, self.store, metrics)
        execution = Execution(self.redis, calls, estimates or FlatEstimates(), assessing, metrics)
        self.runner = Runner(self.queue, self.works, execution, metrics, width)

    def start(self) -> EvaluatorJobs:
        self.runner.start()
        return self

    async def stop(self) -> None:
        await self.runner.stop()
        await self.redis.aclose()
        await self.following.aclose()

    async def create(self, spec: EvalSpec, run: RunSpec, **options: Any) -> tuple[Evaluation, Run]:
        evaluation, _ = await self.store.create_eval(spec)
        made, _ = await self.store.create_run(evaluation, run, **options)
        self.runner.poke()
        return evaluation, made

    async def ended(self, run: Run, seconds: float = 20.0) -> Run:
        """Follow the run to its end; return it."""
        async with asyncio.timeout(seconds):
            async for _ in self.store.events(run.id, None):
                pass
        return await self.store.get_run(run.eval_id, run.id)

    async def finished(self, spec: EvalSpec, run: RunSpec) -> tuple[Run, RunMaterial]:
        """Make a run and wait for its end."""
        evaluation, made = await self.create(spec, run)
        ended = await self.ended(made)
        return ended, await self.store.material(evaluation, ended)


def _client(redis_url: str, timeout: float | None) -> Any:
    return aredis.Redis.from_url(redis_url, socket_timeout=timeout, retry=Retry(NoBackoff(), 0))
