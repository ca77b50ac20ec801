"""The evaluator's composition root: every object meets here, nothing else imports this.

Owns the order of start and stop. SIGTERM: open connections are served to their end, units in work
go back into their streams in Redis, the service withdraws.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from services.evaluator.calling.calls import Calls
from services.evaluator.calling.http_client import CallClient
from services.evaluator.calling.retries import RetryPolicy
from services.evaluator.calling.tariff import Tariff
from services.evaluator.figure_makers import figure_makers
from services.evaluator.jobs.connection import open_connection, open_following
from services.evaluator.jobs.execution import Execution
from services.evaluator.jobs.idempotency import IdempotencyStore
from services.evaluator.jobs.ids import Ids
from services.evaluator.jobs.queue import Queue
from services.evaluator.jobs.runner import Runner, units_beside
from services.evaluator.jobs.store import EvalStore
from services.evaluator.jobs.works import Works
from services.evaluator.judging.choosing import assessment_of
from services.evaluator.judging.graders.similarity import SIMILARITY_METRICS
from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.questions import load as load_questions
from services.evaluator.routes.api import api_routes
from services.evaluator.routes.guard import EvaluatorGuard
from services.evaluator.routes.once import Once
from services.evaluator.routes.workbench import Workbench
from services.evaluator.specs.reader import SpecReader
from shared.client import ZooClient
from shared.http import faults
from shared.http.local_callers import LocalCallers
from shared.http.loopback import is_loopback
from shared.http.operations import Readiness, operations_routes
from shared.http.request_id import RequestIdMiddleware
from shared.http.server import Service
from shared.protocol.evals.spec import Judge
from shared.protocol.workers import ServiceRecord, State
from shared.registry import Heartbeat, HeartbeatMetrics
from shared.registry.record import own_record
from shared.settings import EvaluatorSettings

log = structlog.get_logger(__name__)


class _Life:
    """What state the service is in, for readiness and the registry."""

    def __init__(self, address: str) -> None:
        self.stopping = False
        self._identity = own_record("evaluator", address).model_copy(update={"state": State.READY})

    def record(self) -> ServiceRecord:
        """Return the record; that it is written says that Redis is reached."""
        if not self.stopping:
            return self._identity
        return self._identity.model_copy(update={"state": State.DRAINING})

    def readiness(self, runner: Runner) -> Readiness:
        """Return whether runs are taken and executed."""
        if self.stopping:
            return Readiness(ready=False, state=State.DRAINING)
        if not runner.reachable:
            return Readiness(ready=False, state="waiting", detail={"waits_for": "redis"})
        return Readiness(ready=True, state=State.READY)


class _Asking:
    """The way to the controller: calls, and what they cost."""

    def __init__(self, settings: EvaluatorSettings) -> None:
        key = settings.api_key.get_secret_value()
        self._zoo = ZooClient(settings.base_url, key)
        self._client = CallClient(settings.base_url, key)
        self.tariff = Tariff(self._zoo)
        self.calls = Calls(
            self._client,
            self.tariff,
            concurrency=settings.eval_concurrency,
            policy=RetryPolicy(max_retries=settings.eval_max_retries),
            timeout=settings.eval_call_timeout,
        )

    async def try_judge(self, judge: Judge) -> None:
        """Let a judge answer something small; raises LLMZooError where it does not."""
        asked = [{"role": "user", "content": "Answer with the word ready."}]
        await self.calls.ask({"model": judge.model, "messages": asked, "max_tokens": 16})

    async def close(self) -> None:
        """Close the connections."""
        self._client.close()
        await self._zoo.close()


class _Jobs:
    """Runs in Redis, and who works on them."""

    def __init__(
        self, settings: EvaluatorSettings, asking: _Asking, metrics: EvaluatorMetrics
    ) -> None:
        self.redis, self._following = open_connection(settings), open_following(settings)
        token = settings.internal_token.get_secret_value()
        self.store = EvalStore(self.redis, Ids(token), self._following)
        queue = Queue(self.redis, uuid.uuid4().hex)
        works = Works(self.redis, queue, self.store, metrics)
        execution = Execution(self.redis, asking.calls, asking.tariff, assessment_of, metrics)
        width = units_beside(settings.eval_concurrency)
        self.runner = Runner(queue, works, execution, metrics, width)

    async def close(self) -> None:
        """Close the connections."""
        await self.redis.aclose()
        await self._following.aclose()


def create_app(settings: EvaluatorSettings, address: str) -> Service:
    """Return the evaluator.

    Args:
        settings: Redis, the controller and bounds.
        address: base URL under which others reach this service.
    """
    registry = CollectorRegistry()
    metrics = EvaluatorMetrics(registry)
    life = _Life(address)
    asking = _Asking(settings)
    jobs = _Jobs(settings, asking, metrics)
    runner = jobs.runner
    bench = Workbench()
    heartbeat = Heartbeat(settings, life.record, HeartbeatMetrics(registry))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        heartbeat.start()
        runner.start()
        try:
            yield
        finally:
            life.stopping = True
            await runner.stop()
            heartbeat.stop()
            await bench.close()
            await asking.close()
            await jobs.close()

    def drain() -> None:
        life.stopping = True
        heartbeat.poke()

    app = FastAPI(
        lifespan=lifespan,
        openapi_url=None,
        # A redirection would name this service's own address, which is nobody's affair.
        redirect_slashes=False,
        routes=[
            *operations_routes("evaluator", registry, lambda: life.readiness(runner)),
            *api_routes(
                jobs.store,
                Once(IdempotencyStore(jobs.redis), settings.eval_body_bytes),
                SpecReader(
                    asking.tariff.models, load_questions, SIMILARITY_METRICS, asking.try_judge
                ),
                foresight=asking.tariff,
                assess=assessment_of,
                bench=bench,
                makers=figure_makers(),
                changed=runner.poke,
            ),
        ],
    )
    faults.install(app)
    token = settings.internal_token.get_secret_value()
    guarded = EvaluatorGuard(app, token, _local_callers(settings, address))
    return Service(RequestIdMiddleware(guarded), drain)


def _local_callers(settings: EvaluatorSettings, address: str) -> LocalCallers | None:
    """Return who needs no token; None where everybody does."""
    if is_loopback(settings.evaluator_host):
        return LocalCallers(address)
    if not settings.internal_token.get_secret_value():
        log.warning(
            "bound beyond loopback without LLMZOO_INTERNAL_TOKEN: nobody can be let in",
            host=settings.evaluator_host,
        )
    return None
