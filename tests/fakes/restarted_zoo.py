"""A zoo with a real controller before mock workers, which can be restarted under load."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from pathlib import Path

import psutil

from services.cli.up import run_restart
from shared.settings import ZooSettings
from tests.fakes.chat_request import CHAT, STREAM
from tests.fakes.steady_load import SteadyLoad
from tests.fakes.zoo_process import ZooProcess


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


class Streams(SteadyLoad):
    """Answers as streams; a whole one counts as 200, any other as 0."""

    async def _ask(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            began = time.perf_counter()
            async with self._client.stream("POST", CHAT, json=STREAM) as response:
                text = (await response.aread()).decode()
            whole = response.status_code == 200 and text.endswith("data: [DONE]\n\n")
            self.seconds.append(time.perf_counter() - began)
            self.codes.append(200 if whole else 0)
