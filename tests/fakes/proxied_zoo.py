"""A controller, and mock workers each behind a proxy that can do it harm."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.settings import ControllerSettings, FleetSettings
from tests.bench.gateway.wire import Target
from tests.fakes.fault_proxy import FaultProxy
from tests.fakes.mock.fleet import MockFleet
from tests.fakes.mock.scheduler import Costs
from tests.fakes.mock.worker import MockSettings, MockWorker
from tests.fakes.returning_client import ReturningClient
from tests.fakes.running_controller import RunningController
from tests.fakes.running_service import TOKEN
from tests.fakes.waiting import eventually
from tests.fakes.wire_faults import WireFault

ROOMY = Costs(
    prefill_tokens_per_second=1e6,
    step_seconds=0.001,
    sequence_seconds=0.0,
    max_num_seqs=256,
    max_waiting=256,
    kv_tokens=1_000_000,
)


@dataclass
class ProxiedZoo:
    controller: RunningController
    workers: list[MockWorker]
    proxies: list[FaultProxy]
    plan: list[WireFault]
    """One for all proxies: a try meets what the one before it left."""

    def client(self, **options: Any) -> ReturningClient:
        return ReturningClient([Target("127.0.0.1", self.controller.port)], **options)

    def count(self, name: str) -> int:
        """Return one of the workers' counts, over all of them."""
        return sum(worker.engine.counts[name] for worker in self.workers)

    def met(self) -> int:
        """Return how many faults something met."""
        told = {"connections", "stream", "call"}
        return sum(n for proxy in self.proxies for k, n in proxy.counts.items() if k not in told)

    async def idle(self) -> None:
        """Wait until nobody has anything under way, and the workers hold nothing."""
        await self.controller.idle()
        await eventually(lambda: all(worker.idle for worker in self.workers))
        assert not any(worker.engine.load().kv_tokens_used for worker in self.workers)


@contextlib.asynccontextmanager
async def proxied_zoo(
    redis_url: str,
    folder: Path,
    *,
    plan: Iterable[WireFault] = (),
    workers: int = 3,
    costs: Costs = ROOMY,
    orphan_grace: float = 5.0,
    **settings: Any,
) -> AsyncGenerator[ProxiedZoo]:
    """Start all of it; `settings` are the controller's."""
    fleet_settings = {
        "redis_url": redis_url,
        "internal_token": TOKEN,
        "heartbeat_interval": 0.1,
        "heartbeat_ttl": 1.0,
    }
    mock = MockSettings(token=TOKEN, costs=costs, orphan_grace=orphan_grace)
    mocks = [MockWorker(mock, name=f"mock-{index}") for index in range(workers)]
    shared = list(plan)
    proxies: list[FaultProxy] = []
    fleet = MockFleet(mocks, FleetSettings(**fleet_settings))
    try:
        for worker in mocks:
            await worker.start()
            proxies.append(await FaultProxy(worker.port).up())
            proxies[-1].plan = shared
            worker.behind = proxies[-1].port
        fleet.announce()
        own = ControllerSettings(**fleet_settings, call_store_dir=folder, **settings)
        controller = await RunningController(own).listening()
        try:
            await controller.sees(*(worker.name for worker in mocks))
            yield ProxiedZoo(controller, mocks, proxies, shared)
        finally:
            await controller.stop()
    finally:
        await fleet.stop()
        for proxy in proxies:
            await proxy.down()
