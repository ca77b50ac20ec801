"""The controller, put together.

Owns which object gets which; nothing imports it but `__main__` and tests. The hot routes stand
beside the FastAPI app, under the same middleware.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Receive, Scope, Send

from services.controller.access.guard import KeyGuard
from services.controller.endpoints.endpoints import open_endpoints
from services.controller.fleet.roster import Roster
from services.controller.fleet.watcher import RosterWatcher
from services.controller.metrics import HOT_ROUTES, ControllerMetrics, RequestCounter
from services.controller.relay.aborts import Aborts
from services.controller.relay.dispatch import Dispatcher
from services.controller.routes.chat import ChatRoute
from services.controller.routes.evals import SILENCE_SECONDS, EvalsRoute, is_evals_path
from services.controller.routes.models import models_routes
from services.controller.routes.stats import stats_routes
from services.controller.upstream.peer import EVALUATOR
from services.controller.upstream.pool import UpstreamPool
from shared.http import faults
from shared.http.operations import VERSION, Readiness, operations_routes
from shared.http.request_id import RequestIdMiddleware
from shared.http.server import Service
from shared.protocol.workers import ServiceRecord, State
from shared.registry import Heartbeat, HeartbeatMetrics, RegistryView
from shared.registry.record import own_record
from shared.settings import ControllerSettings


def create_app(settings: ControllerSettings, address: str) -> Service:
    """Return the service that others reach at `address`.

    Raises:
        ConfigurationError: the endpoints file does not fit.
    """
    registry = CollectorRegistry()
    endpoints = open_endpoints(settings, registry)
    metrics = ControllerMetrics(registry)
    roster = Roster(settings)
    view = RegistryView(settings)
    watcher = RosterWatcher(view, roster, settings)
    pool = UpstreamPool(
        connect_timeout=settings.connect_timeout, silence_timeout=settings.upstream_timeout
    )
    token = settings.internal_token.get_secret_value()
    authorization = {"authorization": f"Bearer {token}"} if token else {}
    aborts = Aborts(pool, authorization)
    evaluators = UpstreamPool(
        connect_timeout=settings.connect_timeout,
        silence_timeout=SILENCE_SECONDS,
        peer=EVALUATOR,
    )
    evals = EvalsRoute(roster, evaluators, authorization)
    dispatcher = Dispatcher(roster, pool, aborts, metrics, authorization)
    metrics.observe_roster(roster.workers_in, lambda: roster.staleness(time.monotonic()))
    presence = _Presence(roster, watcher, address)
    heartbeat = Heartbeat(settings, presence.record, HeartbeatMetrics(registry))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        heartbeat.start()
        async with watcher.run():
            yield
            await asyncio.to_thread(heartbeat.stop)
        await aborts.close()
        for each in (pool, evaluators, endpoints):
            each.close()
        await view.close()

    # No pages of API documentation: they would load scripts from elsewhere.
    app = FastAPI(version=VERSION, lifespan=lifespan, openapi_url=None)
    faults.install(app)
    app.include_router(models_routes(roster, endpoints))
    app.include_router(stats_routes(roster))
    app.router.routes.extend(operations_routes("controller", registry, presence.readiness))
    hot = {
        path: ChatRoute(path, dispatcher, endpoints, metrics, settings.max_body_bytes)
        for path in HOT_ROUTES
    }
    keys = [key.get_secret_value() for key in settings.api_keys]
    guarded = KeyGuard(_beside(hot, evals, app), keys)

    def drain() -> None:
        presence.draining = True
        heartbeat.poke()

    return Service(RequestIdMiddleware(RequestCounter(faults.barrier(guarded), metrics)), drain)


class _Presence:
    """What this controller says of itself."""

    def __init__(self, roster: Roster, watcher: RosterWatcher, address: str) -> None:
        self.draining = False
        self._roster = roster
        self._watcher = watcher
        self._record = own_record("controller", address)

    @property
    def state(self) -> State:
        """Return starting until the fleet was seen once."""
        if self.draining:
            return State.DRAINING
        return State.STARTING if self._roster.snapshot_at is None else State.READY

    def record(self) -> ServiceRecord:
        """Return the record of the next beat."""
        return self._record.model_copy(update={"state": self.state})

    def readiness(self) -> Readiness:
        """Return whether requests can be routed."""
        ready = self.state is State.READY and self._watcher.alive
        return Readiness(ready, self.state, {"registry": self._roster.registry_reachable})


def _beside(hot: dict[str, ChatRoute], evals: EvalsRoute, app: ASGIApp) -> ASGIApp:
    """Return an app that serves hot and proxied paths without a framework, the others with it."""

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        chosen: ASGIApp = app
        if scope["type"] == "http":
            path = scope["path"]
            chosen = hot.get(path) or (evals if is_evals_path(path) else app)
        await chosen(scope, receive, send)

    return route
