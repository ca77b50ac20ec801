"""The worker, put together.

Owns which object gets which; nothing imports it but `__main__` and tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from services.worker.engine_metrics import EngineCollector
from services.worker.gpus.claim import GpuClaim
from services.worker.gpus.collector import GpuCollector
from services.worker.gpus.nvml import Nvml
from services.worker.gpus.watch import GpuWatch
from services.worker.heartbeat import Presence
from services.worker.internal_guard import InternalGuard
from services.worker.lifecycle import Lifecycle, Opener
from services.worker.metrics import WorkerMetrics
from services.worker.model_metrics import ModelCollector
from services.worker.models.references import parse_reference
from services.worker.opening import open_model
from services.worker.routes import worker_routes
from services.worker.token_routes import token_routes
from shared.errors import LLMZooError
from shared.http import faults
from shared.http.operations import operations_routes
from shared.http.request_id import RequestIdMiddleware
from shared.http.server import Service
from shared.registry import GpuLease, Heartbeat, HeartbeatMetrics
from shared.registry.record import own_id
from shared.settings import WorkerSettings


def create_app(
    settings: WorkerSettings,
    address: str,
    fail: Callable[[LLMZooError], None],
    opener: Opener = open_model,
) -> Service:
    """Return the service that others reach at `address`.

    Args:
        settings: the model and the limits.
        address: base URL, announced in the registry.
        fail: called on the event loop when the model cannot be served.
        opener: gives the model; called in a thread.

    Raises:
        ModelNotThere: the model's reference is malformed.
    """
    name = settings.model_name or parse_reference(settings.model).name
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry, name)
    nvml = Nvml()
    # Twice as long as a record: what moves a lease to another worker costs a model's load.
    lease = GpuLease(own_id("worker", address), 2 * settings.heartbeat_ttl)
    claim = GpuClaim(settings, lease, nvml)
    lifecycle = Lifecycle(settings, claim.opening(opener), metrics, fail)
    registry.register(EngineCollector(name, lifecycle.stats))
    model = ModelCollector(name, lambda: lifecycle.state, lambda: lifecycle.served)
    registry.register(model)
    registry.register(GpuCollector(nvml, lambda: lease.gpus))
    watch = GpuWatch(
        lease,
        nvml,
        lambda: lifecycle.served and lifecycle.served.probe,
        every=min(5.0, 5 * settings.heartbeat_interval),
    )
    presence = Presence(lifecycle, name, address, settings.speed)
    heartbeat = Heartbeat(settings, presence.record, HeartbeatMetrics(registry), lease)
    lifecycle.changed = claim.asked = heartbeat.poke
    claim.waits, claim.failed = lifecycle.hold_up, lifecycle.give_up

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        heartbeat.start()
        async with lifecycle.running(), watch.running(lifecycle.give_up):
            yield
        await asyncio.to_thread(heartbeat.stop)

    guard = InternalGuard(settings.internal_token.get_secret_value())
    routes = [
        *worker_routes(lifecycle, guard, metrics, settings.max_body_bytes, presence.id),
        *token_routes(lifecycle, metrics, settings.max_body_bytes),
        *operations_routes("worker", registry, presence.readiness),
    ]
    # Plain Starlette: nothing here wants FastAPI, whose import delays the model's.
    app = Starlette(routes=routes, lifespan=lifespan)
    faults.install(app)
    return Service(RequestIdMiddleware(app), lifecycle.begin_draining, lifecycle.drained)
