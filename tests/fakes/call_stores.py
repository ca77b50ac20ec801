"""Call stores on a real Redis and real folders, and calls that a test holds back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from services.controller.call_store.identity import CallIdentity
from services.controller.call_store.metrics import CallStoreMetrics
from services.controller.call_store.outcome import StoredOutcome
from services.controller.call_store.store import CallStore
from services.controller.relay.answer import Answer
from shared.settings import ControllerSettings
from tests.fakes.scrape import sample

PATH = "/v1/chat/completions"


class Producer:
    """Makes a call: counts it, waits for its gate, answers or fails."""

    def __init__(self, body: bytes = b"answer", *, status: int = 200, held: bool = False) -> None:
        self.answer = Answer(status, body)
        self.fault: Exception | None = None
        self.made = 0
        self.cancelled = 0
        self.started = asyncio.Event()
        self.gate = asyncio.Event()
        if not held:
            self.gate.set()

    async def __call__(self) -> Answer:
        self.made += 1
        self.started.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fault is not None:
            raise self.fault.with_traceback(None)
        return self.answer


class RunningStore:
    """One controller's call store."""

    def __init__(self, redis_url: str, folder: Path, lease: float, **settings: Any) -> None:
        self._registry = CollectorRegistry()
        self.store = CallStore(
            ControllerSettings(redis_url=redis_url, call_store_dir=folder, **settings),
            CallStoreMetrics(self._registry),
            lease,
        )

    async def ask(
        self,
        produce: Producer,
        key: str = "k-1",
        body: bytes = b"{}",
        *,
        of: str = "key-1",
        path: str = PATH,
        required: bool = False,
    ) -> StoredOutcome:
        identity = CallIdentity.of(of, key, path, body)
        return await self.store.answer(identity, produce, required=required)

    def metric(self, name: str, **labels: str) -> float:
        text = generate_latest(self._registry).decode()
        return sample(text, f"llmzoo_call_store_{name}", **labels)


@contextlib.asynccontextmanager
async def running_store(
    redis_url: str, folder: Path, *, lease: float = 1.0, **settings: Any
) -> AsyncIterator[RunningStore]:
    running = RunningStore(redis_url, folder, lease, **settings)
    async with running.store.run():
        yield running


def blobs_in(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]
