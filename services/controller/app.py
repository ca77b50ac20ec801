"""The controller, put together.

Owns which object gets which; nothing imports it but `__main__` and tests. The hot routes stand
beside the FastAPI app, under the same middleware.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random

from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from services.controller.access.guard import KeyGuard
from services.controller.fleet.metrics import FleetCollector
from services.controller.fleet.roster import Roster
from services.controller.fleet.watcher import RosterWatcher
from services.controller.flow.admission import Admission
from services.controller.flow.metrics import FlowMetrics
from services.controller.front import Front
from services.controller.loop_lag import LoopLag
from services.controller.metrics import HOT_ROUTES, ControllerMetrics
from services.controller.relay.aborts import Aborts
from services.controller.relay.dispatch import Dispatcher
from services.controller.routes.chat import ChatRoute
from services.controller.routes.models import models_routes
from services.controller.routes.queue import queue_routes
from services.controller.routes.stats import stats_routes
from services.controller.routes.tokens import token_routes
from services.controller.routes.workers import workers_routes
from services.controller.upstream.pool import UpstreamPool
from shared.http import faults
from shared.http.operations import VERSION, Readiness, operations_routes
from shared.http.server import Service
from shared.protocol.workers import ServiceRecord, State
from shared.registry import Heartbeat, HeartbeatMetrics, RegistryView
from shared.registry.record import own_record
from shared.settings import ControllerSettings


def create_app(settings: ControllerSettings, address: str) -> Service:
    """Return the service that others reach at `address`."""
    registry = CollectorRegistry()
    metrics = ControllerMetrics(registry)
    roster = Roster(settings)
    view = RegistryView(settings)
    admission = Admission(roster, settings, FlowMetrics(registry), Random())  # noqa: S311 - no secret

    def changed() -> None:
        for member in roster.silent():
            member.suspect()
        admission.pump()

    watcher = RosterWatcher(view, roster, settings, changed)
    pool = UpstreamPool(
        connect_timeout=settings.connect_timeout, silence_timeout=settings.upstream_timeout
    )
    token = settings.internal_token.get_secret_value()
    authorization = {"authorization": f"Bearer {token}"} if token else {}
    aborts = Aborts(pool, authorization)
    dispatcher = Dispatcher(admission, pool, aborts, metrics, authorization)
    FleetCollector(roster, registry)
    lag = LoopLag(registry)
    presence = _Presence(roster, watcher, address)
    heartbeat = Heartbeat(settings, presence.record, HeartbeatMetrics(registry))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        heartbeat.start()
        async with watcher.run(), lag.measured():
            yield
            await asyncio.to_thread(heartbeat.stop)
        await aborts.close()
        pool.close()
        await view.close()

    app = _low_rate_app(
        lifespan,
        [
            models_routes(roster),
            stats_routes(roster),
            workers_routes(roster, pool, authorization),
            queue_routes(admission),
        ],
        [
            *token_routes(roster, pool, authorization, settings.max_body_bytes),
            *operations_routes("controller", registry, presence.readiness),
        ],
    )
    hot = {
        path: ChatRoute(path, roster, dispatcher, metrics, settings.max_body_bytes)
        for path in HOT_ROUTES
    }
    keys = [key.get_secret_value() for key in settings.api_keys]
    front = Front(_beside(hot, app), KeyGuard(keys), metrics)

    def drain() -> None:
        presence.draining = True
        heartbeat.poke()

    return Service(front, drain)


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


def _low_rate_app(
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
    routers: Sequence[APIRouter],
    routes: Sequence[BaseRoute],
) -> FastAPI:
    """Return the app of all routes that may cost a framework."""
    # No pages of API documentation: they would load scripts from elsewhere.
    app = FastAPI(version=VERSION, lifespan=lifespan, openapi_url=None)
    faults.install(app)
    for router in routers:
        app.include_router(router)
    app.router.routes.extend(routes)
    return app


def _beside(hot: dict[str, ChatRoute], app: ASGIApp) -> ASGIApp:
    """Return an app that serves the hot paths without a framework, the others with it."""

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = hot.get(scope["path"], app) if scope["type"] == "http" else app
        await chosen(scope, receive, send)

    return route
