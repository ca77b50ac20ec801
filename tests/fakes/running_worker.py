"""A worker on a real socket in the test's event loop, with whatever model the test gives it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import uvicorn
from openai import AsyncOpenAI
from prometheus_client.parser import text_string_to_metric_families

from services.worker.app import create_app
from services.worker.lifecycle import Opener
from services.worker.served_model import ServedModel
from shared.errors import LLMZooError
from shared.http.server import bind
from shared.settings import WorkerSettings
from tests.fakes.scripted_model import MODEL

TOKEN = "a token between services"
INTERNAL = {"authorization": f"Bearer {TOKEN}"}
FRAMED = {**INTERNAL, "x-llmzoo-frames": "1"}


async def eventually(holds: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    """Wait until `holds` says so; what is seen over a socket can only be polled."""
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class RunningWorker:
    """The real app behind the real server; no registry is reachable."""

    def __init__(self, opener: Opener, **settings: Any) -> None:
        self.failures: list[LLMZooError] = []
        self._listener = bind("127.0.0.1", 21_000, next_free=True)
        self.url = self._listener.url
        self.service = create_app(
            WorkerSettings(
                **{
                    "model_name": MODEL,
                    "redis_url": "unix:///nonexistent/redis.sock",
                    "internal_token": TOKEN,
                    **settings,
                }
            ),
            self.url,
            self.failures.append,
            opener,
        )
        self.client = httpx.AsyncClient(base_url=self.url, timeout=30, trust_env=False)
        self.openai = AsyncOpenAI(
            base_url=f"{self.url}/v1", api_key="none", http_client=self.client, max_retries=0
        )
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

    @classmethod
    async def with_model(cls, served: ServedModel, **settings: Any) -> RunningWorker:
        """Return a worker that is ready."""
        worker = await cls(lambda _settings, _report: served, **settings).listening()
        await eventually(worker.ready)
        return worker

    async def listening(self) -> RunningWorker:
        await eventually(self._live)
        return self

    async def ready(self) -> bool:
        return (await self.client.get("/health/ready")).is_success

    async def stop(self) -> None:
        await self.client.aclose()
        self._server.should_exit = True
        await self._task

    async def metric(self, name: str, **labels: str) -> float:
        """Return one sample of `GET /metrics`, zero if there is none."""
        text = (await self.client.get("/metrics")).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def idle(self) -> None:
        """Wait until every gauge of work says zero."""

        async def nothing() -> bool:
            names = ("inflight_requests", "num_requests_running", "num_requests_waiting")
            usage = await self.metric("llmzoo_kv_cache_usage_ratio")
            return usage == 0 and not any([await self.metric(f"llmzoo_{name}") for name in names])

        await eventually(nothing)

    async def _live(self) -> bool:
        assert not self._task.done(), "the worker did not start"
        with contextlib.suppress(httpx.TransportError):
            return (await self.client.get("/health/live")).is_success
        return False


class _Server(uvicorn.Server):
    def capture_signals(self) -> contextlib.AbstractContextManager[None]:
        """Leave the signals to pytest."""
        return contextlib.nullcontext()
