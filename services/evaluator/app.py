"""The evaluator's composition root: every object meets here, nothing else imports this.

Owns the order of start and stop. SIGTERM: open connections are served to their end, calls in
flight are closed, the runs go back into the queue in Redis, the service withdraws.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from services.evaluator.calls import Calls, RetryPolicy
from services.evaluator.jobs.claims import Claims
from services.evaluator.jobs.connection import open_connection
from services.evaluator.jobs.ids import Ids
from services.evaluator.jobs.runner import Runner
from services.evaluator.jobs.store import EvalStore
from services.evaluator.judging.dimensions import load_dimensions
from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.routes import EvalRoutes
from shared.client import ZooClient
from shared.http import faults
from shared.http.operations import Readiness, operations_routes
from shared.http.request_id import RequestIdMiddleware
from shared.http.server import Service
from shared.protocol.workers import ServiceRecord, State
from shared.registry import Heartbeat, HeartbeatMetrics
from shared.registry.record import own_record
from shared.settings import EvaluatorSettings


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


def create_app(settings: EvaluatorSettings, address: str) -> Service:
    """Return the evaluator.

    Args:
        settings: Redis, the controller and bounds.
        address: base URL under which others reach this service.
    """
    registry = CollectorRegistry()
    metrics = EvaluatorMetrics(registry)
    life = _Life(address)
    client = ZooClient(settings.base_url, settings.api_key.get_secret_value())
    redis = open_connection(settings)
    store = EvalStore(redis, Ids(settings.internal_token.get_secret_value()))
    width = settings.eval_concurrency
    runner = Runner(
        Claims(redis, owner=uuid.uuid4().hex),
        store,
        Calls(client, width, RetryPolicy()),
        load_dimensions(),
        metrics=metrics,
        width=width,
    )
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
            await client.close()
            await redis.aclose()

    def drain() -> None:
        life.stopping = True
        heartbeat.poke()

    routes = EvalRoutes(store, settings.max_body_bytes, runner.poke)
    app = FastAPI(
        lifespan=lifespan,
        openapi_url=None,
        routes=[
            *operations_routes("evaluator", registry, lambda: life.readiness(runner)),
            *routes.routes(),
        ],
    )
    faults.install(app)
    return Service(RequestIdMiddleware(app), drain)
