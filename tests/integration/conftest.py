"""Real servers for the tests of this folder: Redis, the controller, announced fake workers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client import CollectorRegistry

from services.cli.up.plan import Role
from services.cli.up.redis_server import find_binaries
from shared.registry import Heartbeat, HeartbeatMetrics
from shared.settings import ControllerSettings, FleetSettings
from tests.fakes.frame_recording import LockstepWorker
from tests.fakes.running_controller import RunningController
from tests.fakes.running_service import TOKEN
from tests.fakes.scripted_answers import saying
from tests.fakes.scripted_model import scripted_model
from tests.fakes.waiting import block_until
from tests.fakes.worker_app import FakeWorker, answer

BEAT_SECONDS = 0.1
TTL_SECONDS = 1.0


# No TCP port, nothing kept.
_OPTIONS = ("--port", "0", "--save", "", "--logfile", "redis.log")


class RedisServer:
    """A Redis-compatible server of its own on a unix socket; it can be killed and started again.

    It keeps nothing: a killed one comes back empty, which is the worse case, unless `keeps` says
    that it writes an append-only file as the embedded one does.
    """

    keeps = False

    def __init__(self, folder: Path) -> None:
        self.url = f"unix://{folder}/redis.sock"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        binary = next(find_binaries())
        place = ("--dir", self._folder, "--unixsocket", f"{self._folder}/redis.sock")
        file = ("--appendonly", "yes" if self.keeps else "no")
        self._process = subprocess.Popen([binary, *place, *file, *_OPTIONS])
        with redis.Redis.from_url(self.url) as client:

            def answers() -> bool:
                # It says that it is busy while it reads its file.
                with contextlib.suppress(redis.ConnectionError, redis.exceptions.BusyLoadingError):
                    return bool(client.ping())
                return False

            block_until(answers)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it with a signal; does nothing when it does not run."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop it with SIGSTOP: connections stay open and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@pytest.fixture
def unstarted_redis() -> Iterator[RedisServer]:
    """A server that the test starts itself."""
    # A unix socket's path must be short, pytest's folders are not.
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        server = RedisServer(Path(folder))
        yield server
        server.kill()


@pytest.fixture
def redis_server(unstarted_redis: RedisServer) -> RedisServer:
    unstarted_redis.start()
    return unstarted_redis


def fleet_settings(redis_url: str, **changes: Any) -> dict[str, Any]:
    return {
        "redis_url": redis_url,
        "internal_token": TOKEN,
        "heartbeat_interval": BEAT_SECONDS,
        "heartbeat_ttl": TTL_SECONDS,
        **changes,
    }


StartController = Callable[..., Awaitable[RunningController]]


@pytest.fixture
async def start_controller(
    unstarted_redis: RedisServer, tmp_path: Path
) -> AsyncIterator[StartController]:
    """A function that starts a controller; its arguments are settings."""
    running: list[RunningController] = []

    async def start(**changes: Any) -> RunningController:
        chosen = {
            "redis_url": unstarted_redis.url,
            "call_store_dir": tmp_path / "calls",
            **changes,
        }
        settings = ControllerSettings(**fleet_settings(**chosen))
        running.append(RunningController(settings))
        return await running[-1].listening()

    yield start
    for controller in running:
        await controller.stop()


class Announcement:
    """A fake worker's heartbeat."""

    def __init__(self, worker: FakeWorker, settings: FleetSettings) -> None:
        self.heartbeat = Heartbeat(settings, worker.record, HeartbeatMetrics(CollectorRegistry()))
        self.heartbeat.start()

    async def withdraw(self) -> None:
        if self.heartbeat.alive:
            await asyncio.to_thread(self.heartbeat.stop)


Announce = Callable[..., Awaitable[Announcement]]


@pytest.fixture
async def announce(unstarted_redis: RedisServer) -> AsyncIterator[Announce]:
    """A function that starts a fake worker and its heartbeat; its arguments are settings."""
    made: list[tuple[FakeWorker, Announcement]] = []

    async def start(worker: FakeWorker, **changes: Any) -> Announcement:
        if not worker.port:
            await worker.start()
        settings = FleetSettings(**fleet_settings(unstarted_redis.url, **changes))
        announcement = Announcement(worker, settings)
        made.append((worker, announcement))
        return announcement

    yield start
    for worker, announcement in made:
        await announcement.withdraw()
        await worker.stop()


@pytest.fixture
async def controller(start_controller: StartController) -> RunningController:
    return await start_controller()


@pytest.fixture
async def worker(announce: Announce, controller: RunningController) -> FakeWorker:
    """A fake worker that the controller sees."""
    worker = FakeWorker(answer("fine"))
    await announce(worker)
    await controller.sees("worker-1")
    return worker


@pytest.fixture
def ports() -> dict[str, int]:
    """A free port for each service of a zoo."""
    sockets = [socket.socket() for _ in Role]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    found = {role.value: each.getsockname()[1] for role, each in zip(Role, sockets, strict=True)}
    for each in sockets:
        each.close()
    return found


@pytest.fixture
async def scripted() -> AsyncIterator[Any]:
    """A function that starts a scripted worker; its arguments are those of `scripted_model`."""
    running: list[LockstepWorker] = []

    async def make(script: str, **limits: Any) -> LockstepWorker:
        running.append(await LockstepWorker.of(scripted_model(saying(script), **limits)[0]))
        return running[-1]

    yield make
    for worker in running:
        await worker.stop()
