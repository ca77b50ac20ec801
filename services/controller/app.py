"""The controller, put together.

Owns which object gets which; nothing imports it but `__main__` and tests. The hot routes stand
beside the FastAPI app, behind the same front.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random

import structlog
from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from services.controller.access.guard import KeyGuard
from services.controller.access.keyring import Keyring
from services.controller.access.keys import KeyStore
from services.controller.access.lease_store import LeaseStore
from services.controller.access.limits import RateLimits
from services.controller.access.static_keys import StaticKeys
from services.controller.call_store.metrics import CallStoreMetrics
from services.controller.call_store.store import CallStore
from services.controller.endpoints.endpoints import Endpoints, open_endpoints
from services.controller.fleet.metrics import FleetCollector
from services.controller.fleet.redis_health import RedisHealth
from services.controller.fleet.roster import Roster
from services.controller.fleet.watcher import RosterWatcher
from services.controller.flow.admission import Admission
from services.controller.flow.metrics import FlowMetrics
from services.controller.front import Front
from services.controller.loop_lag import LoopLag
from services.controller.metrics import HOT_ROUTES, ControllerMetrics
from services.controller.relay.aborts import Aborts
from services.controller.relay.backend import Backend
from services.controller.relay.dispatch import Dispatcher
from services.controller.relay.errand import Errands
from services.controller.relay.move_metrics import MoveMetrics
from services.controller.relay.mover import Mover
from services.controller.relay.running_answers import RunningAnswers
from services.controller.relay.takeover import Takeover
from services.controller.relay.workers import Workers
from services.controller.routes.chat import ChatRoute
from services.controller.routes.evals import SILENCE_SECONDS, EvalsRoute, is_evals_path
from services.controller.routes.keys import keys_routes
from services.controller.routes.models import models_routes
from services.controller.routes.openapi import openapi_route
from services.controller.routes.queue import queue_routes
from services.controller.routes.requests import requests_routes
from services.controller.routes.stats import stats_routes
from services.controller.routes.tokens import token_routes
from services.controller.routes.workers import workers_routes
from services.controller.tracing.provider import Tracing
from services.controller.upstream.peer import EVALUATOR
from services.controller.upstream.pool import UpstreamPool
from shared.http import faults
from shared.http.local_callers import LocalCallers
from shared.http.loopback import is_loopback
from shared.http.operations import VERSION, Readiness, operations_routes
from shared.http.server import Service
from shared.protocol.workers import ServiceRecord, State
from shared.registry import Heartbeat, HeartbeatMetrics, RegistryView
from shared.registry.record import own_record
from shared.settings import ControllerSettings

log = structlog.get_logger(__name__)


def create_app(settings: ControllerSettings, address: str) -> Service:
    """Return the service that others reach at `address`.

    Raises:
        ConfigurationError: the endpoints file does not fit, or what a setting asks for is absent.
    """
    registry = CollectorRegistry()
    endpoints = open_endpoints(settings, registry)
    metrics = ControllerMetrics(registry)
    roster = Roster(settings)
    FleetCollector(roster, registry)
    lag = LoopLag(registry)
    # No secret depends on these numbers.
    admission = Admission(roster, settings, FlowMetrics(registry), Random())  # noqa: S311
    view = RegistryView(settings)
    redis_health = RedisHealth(view, roster, registry)
    watcher = RosterWatcher(view, roster, settings, _on_change(roster, admission, metrics))
    tracing = Tracing() if settings.otel else None
    fleet = _Fleet(settings, roster, admission, metrics, MoveMetrics(registry))
    access = _Access(settings, roster, address)
    calls = CallStore(settings, CallStoreMetrics(registry))
    authorization = _authorization(settings)
    evals = EvalsRoute(roster, fleet.evaluators, authorization)
    presence = _Presence(roster, watcher, access.keyring, address)
    heartbeat = Heartbeat(settings, presence.record, HeartbeatMetrics(registry))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        heartbeat.start()
        async with (
            watcher.run(),
            access.run(),
            calls.run(),
            lag.measured(),
            redis_health.watched(),
        ):
            yield
            await asyncio.to_thread(heartbeat.stop)
        await fleet.close()
        endpoints.close()
        if tracing is not None:
            await tracing.close()
        await view.close()

    app = _low_rate_app(
        lifespan,
        [
            models_routes(roster, endpoints),
            stats_routes(roster, admission),
            keys_routes(access.store, access.keyring),
            workers_routes(roster, fleet.pool, authorization),
            queue_routes(admission),
            requests_routes(fleet.running, roster),
        ],
        [
            *token_routes(
                roster,
                fleet.pool,
                authorization,
                access.limits,
                max_body_bytes=settings.max_body_bytes,
            ),
            *operations_routes("controller", registry, presence.readiness),
        ],
    )
    if tracing is not None:
        tracing.watch(app)
    backend = _backend(fleet.workers, endpoints, tracing)
    hot = {
        path: ChatRoute(
            path,
            roster,
            backend,
            access.limits,
            calls,
            metrics=metrics,
            max_body_bytes=settings.max_body_bytes,
        )
        for path in HOT_ROUTES
    }

    def drain() -> None:
        presence.draining = True
        calls.drain()
        fleet.drain()
        heartbeat.poke()

    return Service(
        Front(_Beside(hot, evals, app), access.guard, metrics),
        drain,
    )


def _on_change(
    roster: Roster, admission: Admission, metrics: ControllerMetrics
) -> Callable[[], None]:
    """Return what follows from a new view of the fleet."""

    def changed() -> None:
        for model in roster.known_models():
            metrics.model(model)  # its series begin before its first request
        for member in roster.silent():
            member.suspect()
        admission.pump()

    return changed


def _authorization(settings: ControllerSettings) -> dict[str, str]:
    """Return the header that other services of the fleet ask for."""
    token = settings.internal_token.get_secret_value()
    return {"authorization": f"Bearer {token}"} if token else {}


def _backend(
    workers: Workers, endpoints: Endpoints, tracing: Tracing | None
) -> Callable[[str], Backend]:
    """Return who answers calls of a model."""

    def chosen(model: str) -> Backend:
        return endpoints.find(model) or workers

    return chosen if tracing is None else lambda model: tracing.calls(chosen(model))


class _Fleet:
    """The way to workers and evaluators."""

    def __init__(
        self,
        settings: ControllerSettings,
        roster: Roster,
        admission: Admission,
        metrics: ControllerMetrics,
        moves: MoveMetrics,
    ) -> None:
        authorization = _authorization(settings)
        self.pool = UpstreamPool(
            connect_timeout=settings.connect_timeout, silence_timeout=settings.upstream_timeout
        )
        self.evaluators = UpstreamPool(
            connect_timeout=settings.connect_timeout,
            silence_timeout=SILENCE_SECONDS,
            peer=EVALUATOR,
        )
        self.running = RunningAnswers()
        self._drain_timeout = settings.drain_timeout
        self._aborts = Aborts(self.pool, authorization)
        errands = Errands(authorization)
        dispatcher = Dispatcher(admission, self.pool, self._aborts, metrics)
        mover = Mover(dispatcher, errands, roster, self.running, settings=settings, metrics=moves)
        takeover = Takeover(roster, admission, self.pool, self._aborts, errands, metrics=moves)
        self.workers = Workers(dispatcher, errands, takeover, mover, self.running, metrics=metrics)

    def drain(self) -> None:
        """Leave to other controllers what still runs when the time of draining is over."""
        # The server ends requests at the timeout itself.
        self._aborts.leave(self._drain_timeout - min(1.0, self._drain_timeout / 2))

    async def close(self) -> None:
        await self._aborts.close()
        self.pool.close()
        self.evaluators.close()


class _Access:
    """Who may ask what, and how much of it."""

    def __init__(self, settings: ControllerSettings, roster: Roster, address: str) -> None:
        static_keys = StaticKeys(settings)
        self.store = KeyStore(settings)
        self.keyring = Keyring(static_keys, self.store)
        local = _callers_without_key(settings, static_keys, address)
        self.guard = KeyGuard(self.keyring, local)
        self._leases = LeaseStore(settings)
        self.limits = RateLimits(self._leases, lambda: roster.count("controller"))

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        async with self.keyring.run(), self.limits.run():
            yield
        await self._leases.close()
        await self.store.close()


class _Presence:
    """What this controller says of itself."""

    def __init__(
        self, roster: Roster, watcher: RosterWatcher, keyring: Keyring, address: str
    ) -> None:
        self.draining = False
        self._keyring = keyring
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
        ready = self.state is State.READY and self._watcher.alive and self._keyring.alive
        return Readiness(ready, self.state, {"registry": self._roster.registry_reachable})


def _low_rate_app(
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
    routers: Sequence[APIRouter],
    routes: Sequence[BaseRoute],
) -> FastAPI:
    """Return the app of all routes that may cost a framework."""
    # No pages of API documentation: they would load scripts from elsewhere.
    app = FastAPI(title="LLM Zoo", version=VERSION, lifespan=lifespan, openapi_url=None)
    faults.install(app)
    for router in routers:
        app.include_router(router)
    app.router.routes.extend([*routes, openapi_route(app)])
    return app


def _callers_without_key(
    settings: ControllerSettings, static_keys: StaticKeys, address: str
) -> LocalCallers | None:
    """Return who needs no key; None where everybody does."""
    if static_keys.configured:
        return None
    if is_loopback(settings.controller_host):
        return LocalCallers(address)
    log.warning(
        "bound beyond loopback without a key of its own: set LLMZOO_API_KEYS or "
        "LLMZOO_API_KEYS_FILE; with such a key `llmzoo key create` makes others",
        host=settings.controller_host,
    )
    return None


class _Beside:
    """Serves hot and proxied paths without a framework, the others with `app`."""

    def __init__(self, hot: dict[str, ChatRoute], evals: EvalsRoute, app: FastAPI) -> None:
        self.hot = hot
        self.app = app
        self._evals = evals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        chosen: ASGIApp = self.app
        if scope["type"] == "http":
            path = scope["path"]
            chosen = self.hot.get(path) or (self._evals if is_evals_path(path) else self.app)
        await chosen(scope, receive, send)
