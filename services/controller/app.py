"""The controller, put together.

Owns which object gets which; nothing imports it but `__main__` and tests. The hot routes stand
beside the FastAPI app, under the same middleware.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Receive, Scope, Send

from services.controller.access.guard import KeyGuard
from services.controller.access.keyring import Keyring
from services.controller.access.keys import KeyStore
from services.controller.access.local_callers import LocalCallers
from services.controller.access.static_keys import StaticKeys
from services.controller.fleet.roster import Roster
from services.controller.fleet.watcher import RosterWatcher
from services.controller.metrics import HOT_ROUTES, ControllerMetrics, RequestCounter
from services.controller.relay.aborts import Aborts
from services.controller.relay.dispatch import Dispatcher
from services.controller.routes.chat import ChatRoute
from services.controller.routes.keys import keys_routes
from services.controller.routes.models import models_routes
from services.controller.routes.stats import stats_routes
from services.controller.upstream.pool import UpstreamPool
from shared.http import faults
from shared.http.loopback import is_loopback
from shared.http.operations import VERSION, Readiness, operations_routes
from shared.http.request_id import RequestIdMiddleware
from shared.http.server import Service
from shared.protocol.workers import ServiceRecord, State
from shared.registry import Heartbeat, HeartbeatMetrics, RegistryView
from shared.registry.record import own_record
from shared.settings import ControllerSettings

log = structlog.get_logger(__name__)


def create_app(settings: ControllerSettings, address: str) -> Service:
    """Return the service that others reach at `address`."""
    registry = CollectorRegistry()
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
    dispatcher = Dispatcher(roster, pool, aborts, metrics, authorization)
    metrics.observe_roster(roster.workers_in, lambda: roster.staleness(time.monotonic()))
    static_keys = StaticKeys(settings)
    key_store = KeyStore(settings)
    keyring = Keyring(static_keys, key_store)
    presence = _Presence(roster, watcher, keyring, address)
    heartbeat = Heartbeat(settings, presence.record, HeartbeatMetrics(registry))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        heartbeat.start()
        async with watcher.run(), keyring.run():
            yield
            await asyncio.to_thread(heartbeat.stop)
        await aborts.close()
        pool.close()
        await key_store.close()
        await view.close()

    # No pages of API documentation: they would load scripts from elsewhere.
    app = FastAPI(version=VERSION, lifespan=lifespan, openapi_url=None)
    faults.install(app)
    app.include_router(models_routes(roster))
    app.include_router(stats_routes(roster))
    app.include_router(keys_routes(key_store, keyring))
    app.router.routes.extend(operations_routes("controller", registry, presence.readiness))
    hot = {
        path: ChatRoute(path, dispatcher, metrics, settings.max_body_bytes) for path in HOT_ROUTES
    }
    guarded = KeyGuard(
        _Beside(hot, app), keyring, _callers_without_key(settings, static_keys, address)
    )

    def drain() -> None:
        presence.draining = True
        heartbeat.poke()

    return Service(RequestIdMiddleware(RequestCounter(faults.barrier(guarded), metrics)), drain)


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
    """Serves the hot paths without a framework, the others with `app`."""

    def __init__(self, hot: dict[str, ChatRoute], app: FastAPI) -> None:
        self.hot = hot
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_http = scope["type"] == "http"
        chosen: ASGIApp = self.hot.get(scope["path"], self.app) if is_http else self.app
        await chosen(scope, receive, send)
