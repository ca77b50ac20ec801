"""Real servers for the tests of this folder: Redis, the controller, announced fake workers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from services.cli.up.redis_server import find_binaries
from services.controller.app import create_app
from shared.http.server import bind
from shared.registry import Heartbeat, HeartbeatMetrics
from shared.settings import ControllerSettings, FleetSettings
from tests.fakes.worker_app import FakeWorker

TOKEN = "a token between services"
BEAT_SECONDS = 0.1
TTL_SECONDS = 1.0


# No TCP port, nothing kept.
_OPTIONS = ("--port", "0", "--save", "", "--appendonly", "no", "--logfile", "redis.log")


class RedisServer:
    """A Redis-compatible server of its own on a unix socket; it can be killed and started again.

    It keeps nothing: a killed one comes back empty, which is the worse case.
    """

    def __init__(self, folder: Path) -> None:
        self.url = f"unix://{folder}/redis.sock"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        binary = next(find_binaries())
        self._process = subprocess.Popen(
            [binary, "--dir", self._folder, "--unixsocket", f"{self._folder}/redis.sock", *_OPTIONS]
        )
        deadline = time.monotonic() + 10
        with redis.Redis.from_url(self.url) as client:
            while True:
                with contextlib.suppress(redis.ConnectionError):
                    if client.ping():
                        return
                assert time.monotonic() < deadline, "redis-server did not start"
                time.sleep(0.01)

    def kill(self) -> None:
        """End it with SIGKILL; does nothing when it does not run."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
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


async def eventually(holds: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    """Wait until `holds` says so; an outside view of another process can only be polled."""
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class RunningController:
    """A controller on a real socket, in the test's loop, and a client of it."""

    def __init__(self, settings: ControllerSettings) -> None:
        self._listener = bind("127.0.0.1", 20_000, next_free=True)
        self.service = create_app(settings, self._listener.url)
        self.url = self._listener.url
        self.port = self._listener.port
        self.client = httpx.AsyncClient(base_url=self.url, timeout=30, trust_env=False)
        self._server = _Server(
            uvicorn.Config(
                self.service.app,
                http="httptools",
                lifespan="on",
                log_config=None,
                timeout_graceful_shutdown=5,
            )
        )
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener.sock]))

    async def started(self) -> RunningController:
        await eventually(self._live)
        return self

    async def stop(self) -> None:
        await self.client.aclose()
        self._server.should_exit = True
        await self._task

    async def stats(self) -> dict[str, Any]:
        return (await self.client.get("/v1/stats")).json()

    async def sees(self, *names: str, state: str = "ready") -> None:
        """Wait until these services, and no other workers, are in the roster in this state."""

        async def seen() -> bool:
            services = (await self.stats())["services"]
            return {s["id"] for s in services if s["kind"] == "worker"} == set(names) and all(
                s["state"] == state for s in services if s["kind"] == "worker"
            )

        await eventually(seen)

    async def metric(self, name: str, **labels: str) -> float:
        """Return one sample of `GET /metrics`; the labels given must match."""
        text = (await self.client.get("/metrics")).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def idle(self) -> None:
        """Wait until no request is under way, by the gauge and by the count of each worker."""

        async def nothing() -> bool:
            services = (await self.stats())["services"]
            counts = [s["inflight"] for s in services]
            return not any(counts) and await self.metric("llmzoo_inflight_requests") == 0

        await eventually(nothing)

    async def _live(self) -> bool:
        assert not self._task.done(), "the controller did not start"
        with contextlib.suppress(httpx.TransportError):
            return (await self.client.get("/health/live")).is_success
        return False


class _Server(uvicorn.Server):
    def capture_signals(self) -> contextlib.AbstractContextManager[None]:
        """Leave the signals to pytest."""
        return contextlib.nullcontext()


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
async def start_controller(unstarted_redis: RedisServer) -> AsyncIterator[StartController]:
    """A function that starts a controller; its arguments are settings."""
    running: list[RunningController] = []

    async def start(**changes: Any) -> RunningController:
        settings = ControllerSettings(**fleet_settings(unstarted_redis.url, **changes))
        running.append(RunningController(settings))
        return await running[-1].started()

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
