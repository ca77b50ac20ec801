"""A service of ours on a real socket in the test's event loop, and a client of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator
from typing import Self

import httpx
import uvicorn

from shared.http.limited_protocol import ServerLimits
from shared.http.server import DEFAULT_LIMITS, Service, bind, server_config
from tests.fakes.scrape import sample
from tests.fakes.waiting import eventually

TOKEN = "a token between services"


class QuietServer(uvicorn.Server):
    """A server that leaves the signals to pytest."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class RunningService:
    """The real app behind the real server; `create` makes the service of an address."""

    def __init__(
        self,
        create: Callable[[str], Service],
        first_port: int,
        limits: ServerLimits = DEFAULT_LIMITS,
    ) -> None:
        listener = bind("127.0.0.1", first_port, next_free=True)
        self.url = listener.url
        self.port = listener.port
        self.service = create(self.url)
        self.client = httpx.AsyncClient(base_url=self.url, timeout=30, trust_env=False)
        self._server = QuietServer(server_config(self.service.app, 5, limits))
        self._task = asyncio.create_task(self._server.serve(sockets=[listener.sock]))

    async def listening(self) -> Self:
        await eventually(self._live)
        return self

    async def stop(self) -> None:
        await self.client.aclose()
        self._server.should_exit = True
        await self._task

    async def metric(self, name: str, **labels: str) -> float:
        """Return one sample of `GET /metrics`, zero if there is none; the labels must match."""
        return sample((await self.client.get("/metrics")).text, name, **labels)

    async def _live(self) -> bool:
        assert not self._task.done(), "the service did not start"
        with contextlib.suppress(httpx.TransportError):
            return (await self.client.get("/health/live")).is_success
        return False
