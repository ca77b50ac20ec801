"""A zoo under steady load is restarted piece by piece, and no request fails.

The controller is the real one; its workers are mock engines, whose answers cost little.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from services.cli.up import run_restart
from shared.settings import ZooSettings
from tests.fakes.chat_request import CHAT, STREAM
from tests.fakes.steady_load import SteadyLoad
from tests.fakes.zoo_process import ZooProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.redis


class RestartedZoo:
    """A real controller and two mock workers under a supervisor."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.settings = ZooSettings(state_dir=folder / "state")
        self.process = ZooProcess(
            self.settings.state_dir,
            {"controller": port, "worker": 23_500},
            modules={"controller": "services.controller", "worker": "tests.fakes.zoo_worker"},
            environment={
                "LLMZOO_HEARTBEAT_INTERVAL": "0.2",
                "LLMZOO_CALL_STORE_DIR": str(folder / "calls"),
            },
            only=["controller", "worker"],
            workers=2,
        )

    async def restart(self, *names: str) -> None:
        before = self.pids()
        assert await asyncio.to_thread(run_restart, self.settings, names, 0) == 0
        assert before - self.pids(), "nothing was restarted"

    def pids(self) -> set[int]:
        services = ("services.controller", "tests.fakes.zoo_worker")
        found: set[int] = set()
        for child in self.process.children():
            with suppress(psutil.NoSuchProcess):
                if child.cmdline()[-1] in services:
                    found.add(child.pid)
        return found


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[RestartedZoo]:
    running = RestartedZoo(tmp_path)
    try:
        running.process.until_ready()
        yield running
    finally:
        running.process.close()


class Streams(SteadyLoad):
    """Answers as streams; a whole one counts as 200, any other as 0."""

    async def _ask(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            async with self._client.stream("POST", CHAT, json=STREAM) as response:
                text = (await response.aread()).decode()
            whole = response.status_code == 200 and text.endswith("data: [DONE]\n\n")
            self.codes.append(200 if whole else 0)


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
