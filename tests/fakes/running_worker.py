"""A worker on a real socket in the test's event loop, with whatever model the test gives it."""

from __future__ import annotations

from typing import Any

from openai import AsyncOpenAI

from services.worker.app import create_app
from services.worker.lifecycle import Opener
from services.worker.served_model import ServedModel
from shared.errors import LLMZooError
from shared.settings import WorkerSettings
from tests.fakes.running_service import TOKEN, RunningService
from tests.fakes.scripted_model import MODEL
from tests.fakes.waiting import eventually

INTERNAL = {"authorization": f"Bearer {TOKEN}"}
FRAMED = {**INTERNAL, "x-llmzoo-frames": "1"}


class RunningWorker(RunningService):
    """No registry is reachable."""

    def __init__(self, opener: Opener, **settings: Any) -> None:
        self.failures: list[LLMZooError] = []
        chosen = WorkerSettings(
            **{
                "model_name": MODEL,
                "redis_url": "unix:///nonexistent/redis.sock",
                "internal_token": TOKEN,
                # Without a registry no GPU can be leased.
                "device": "cpu",
                **settings,
            }
        )
        super().__init__(lambda url: create_app(chosen, url, self.failures.append, opener), 21_000)
        self.openai = AsyncOpenAI(
            base_url=f"{self.url}/v1", api_key="none", http_client=self.client, max_retries=0
        )

    @classmethod
    async def with_model(cls, served: ServedModel, **settings: Any) -> RunningWorker:
        """Return a worker that is ready."""
        worker = await cls(lambda _settings, _report: served, **settings).listening()
        await eventually(worker.ready)
        return worker

    async def ready(self) -> bool:
        return (await self.client.get("/health/ready")).is_success

    async def idle(self) -> None:
        """Wait until every gauge of work says zero."""

        async def nothing() -> bool:
            names = ("inflight_requests", "num_requests_running", "num_requests_waiting")
            usage = await self.metric("llmzoo_kv_cache_usage_ratio")
            return usage == 0 and not any([await self.metric(f"llmzoo_{name}") for name in names])

        await eventually(nothing)
