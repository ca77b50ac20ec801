"""A zoo under steady load is restarted piece by piece, and no request fails.

The controller is the real one; its workers are mock engines, whose answers cost little.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.fakes.restarted_zoo import RestartedZoo, Streams
from tests.fakes.steady_load import SteadyLoad

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.redis


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[RestartedZoo]:
    running = RestartedZoo(tmp_path)
    try:
        running.process.until_ready()
        yield running
    finally:
        running.process.close()


async def test_no_request_fails_while_everything_is_restarted(zoo: RestartedZoo) -> None:
    limits = httpx.Limits(max_keepalive_connections=0)
    async with (
        httpx.AsyncClient(base_url=zoo.url, timeout=30, trust_env=False) as keeping,
        httpx.AsyncClient(base_url=zoo.url, timeout=30, trust_env=False, limits=limits) as opening,
    ):
        loads = [SteadyLoad(keeping), Streams(keeping), SteadyLoad(opening)]
        async with (
            loads[0].running(lines=3),
            loads[1].running(lines=3),
            loads[2].running(lines=1),
        ):
            await zoo.restart("all")
            await zoo.restart("controller", "worker-2")
    for load in loads:
        assert len(load.codes) > 20
        assert {*load.codes} == {200}


async def test_a_client_that_keeps_its_connection_idle_is_served_by_who_leaves(
    zoo: RestartedZoo,
) -> None:
    async with httpx.AsyncClient(base_url=zoo.url, timeout=30, trust_env=False) as client:
        first = (await client.get("/health/ready")).json()["pid"]
        restart = asyncio.create_task(zoo.restart("controller"))
        connections: set[str | None] = set()
        while not restart.done():
            answer = await client.get("/health/live")
            connections.add(answer.headers.get("connection"))
        await restart
        # It was told once that its connection is the last one's, and came back on another.
        assert connections == {None, "close"}
        assert (await client.get("/health/ready")).json()["pid"] != first
