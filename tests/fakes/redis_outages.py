"""Ways in which Redis goes away and comes back, and what must hold meanwhile."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import redis

from tests.fakes.running_controller import RunningController
from tests.fakes.steady_load import SteadyLoad
from tests.fakes.waiting import eventually

OUTAGES = ("killed", "frozen", "emptied")
"""A killed one comes back empty, as after a failover to a server without the data."""

LINES = 2
NORMAL_SECONDS = 1.5
HEALED_SECONDS = 3.0


class Server(Protocol):
    """A Redis that a test may break."""

    url: str

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...


async def serves_through(
    outage: str, server: Server, controller: RunningController, seconds: float
) -> None:
    """Assert that an outage of `seconds` costs no request, and its return neither."""
    names = await _workers(controller)
    load = SteadyLoad(controller.client)
    async with load.running(LINES):
        await asyncio.sleep(NORMAL_SECONDS)
        normal = load.take_p99()
        await _begin(outage, server, controller)
        await asyncio.sleep(seconds)
        during = load.take_p99()
        assert await _workers(controller) == names
        assert (await controller.client.get("/health/ready")).status_code == 200
        ended = time.monotonic()
        _end(outage, server)
        await eventually(lambda: _healed(controller, time.monotonic() - ended))
        assert time.monotonic() - ended < HEALED_SECONDS
        # And none is dropped because its first beat is not back.
        await asyncio.sleep(NORMAL_SECONDS)
        after = load.take_p99()
    assert set(load.codes) == {200}
    assert await _workers(controller) == names
    # Loosely: other programs run on a machine that tests.
    for p99 in (during, after):
        assert p99 < 3 * normal + 0.05


async def _begin(outage: str, server: Server, controller: RunningController) -> None:
    match outage:
        case "killed":
            server.kill()
        case "frozen":
            server.freeze()
        case _:
            with redis.Redis.from_url(server.url) as client:
                client.flushall()
            return

    async def away() -> bool:
        return not (await controller.stats())["registry"]["reachable"]

    await eventually(away)


def _end(outage: str, server: Server) -> None:
    if outage == "killed":
        server.start()
    elif outage == "frozen":
        server.thaw()


async def _healed(controller: RunningController, since: float) -> bool:
    """Return whether each worker has beaten since, so many seconds ago."""
    stats = await controller.stats()
    beats = [s["beat_age_seconds"] for s in stats["services"] if s["kind"] == "worker"]
    return stats["registry"]["reachable"] and all(age < since for age in beats)


async def _workers(controller: RunningController) -> dict[str, str]:
    services = (await controller.stats())["services"]
    return {s["id"]: s["state"] for s in services if s["kind"] == "worker"}
