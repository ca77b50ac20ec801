"""Ten minutes of all kinds of requests leave nothing behind: `make test-long`.

`LLMZOO_SOAK_SECONDS` shortens it while one works on it; its figures count at ten minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import time
from collections import Counter
from typing import Any

import httpx
import psutil
import pytest

from shared.http.server import bind
from shared.settings import FleetSettings, child_environment
from tests.fakes.chat_request import CHAT
from tests.fakes.mock.fleet import MockFleet
from tests.fakes.mock.scheduler import Costs
from tests.fakes.mock.worker import MockSettings, MockWorker
from tests.fakes.running_service import TOKEN
from tests.fakes.scrape import sample
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.timeout(1200)]

# Its figures count at ten minutes: memory settles until what is bounded is full, the sessions last.
SECONDS = float(os.environ.get("LLMZOO_SOAK_SECONDS", "600"))
WARM_UP = min(150.0, SECONDS / 3)
AT_ONCE = 24
MOST_GROWTH = 0.02


class Controller:
    """A real process, and what the operating system and itself say of it."""

    def __init__(self, url: str, pid: int) -> None:
        self.client = httpx.AsyncClient(base_url=url, timeout=30, trust_env=False)
        self._process = psutil.Process(pid)

    async def metric(self, name: str) -> float:
        return sample((await self.client.get("/metrics")).text, name)

    async def idle(self) -> None:
        async def nothing() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return await self.metric("llmzoo_inflight_requests") == 0
            return False

        await eventually(nothing, 30)

    async def held(self) -> dict[str, float]:
        """Return what it holds once nobody asks and idle connections have ended."""
        await self.idle()
        return {
            "memory": self._process.memory_info().rss,
            "descriptors": self._process.num_fds(),
            "tasks": await self.metric("llmzoo_event_loop_tasks"),
        }


async def test_nothing_grows(redis_server, tmp_path):
    listener = bind("127.0.0.1", 21_000, next_free=True)
    port = listener.port
    listener.sock.close()
    fleet = {"redis_url": redis_server.url, "internal_token": TOKEN}
    costs = Costs(step_seconds=0.002, sequence_seconds=0.0001)
    workers = [MockWorker(MockSettings(token=TOKEN, costs=costs)) for _ in range(2)]
    mocks = await MockFleet(workers, FleetSettings(**fleet)).start()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.controller"),
        env=child_environment(
            {
                "LLMZOO_REDIS_URL": redis_server.url,
                "LLMZOO_INTERNAL_TOKEN": TOKEN,
                "LLMZOO_CONTROLLER_PORT": str(port),
                "LLMZOO_CALL_STORE_DIR": str(tmp_path),
                "LLMZOO_CALL_STORE_BYTES": "1000000",
                "LLMZOO_LOG_LEVEL": "warning",
            }
        ),
    )
    controller = Controller(listener.url, process.pid)
    try:
        await controller.idle()
        await load(controller, WARM_UP)
        before = await controller.held()
        seen = await load(controller, SECONDS - WARM_UP)
        after = await controller.held()
        print(dict(seen), before, after)
    finally:
        await controller.client.aclose()
        process.terminate()
        await process.wait()
        await mocks.stop()

    assert seen[200] > 100 * (SECONDS - WARM_UP) / 10
    assert set(seen) <= {0, 200, 400, 404, 429, 503}
    assert after["memory"] <= (1 + MOST_GROWTH) * before["memory"]
    assert after["descriptors"] <= before["descriptors"]
    assert after["tasks"] <= before["tasks"]


async def load(controller: Controller, seconds: float) -> Counter[int]:
    """Ask for so long, and return how often each status came; 0: we left."""
    until = time.monotonic() + seconds
    seen: Counter[int] = Counter()

    async def ask(seed: int) -> None:
        rng = random.Random(seed)
        while time.monotonic() < until:
            seen[await one(controller.client, rng)] += 1

    await asyncio.gather(*(ask(seed) for seed in range(AT_ONCE)))
    return seen


async def one(client: httpx.AsyncClient, rng: random.Random) -> int:
    """Make a request of some kind; some leave before they have their answer."""
    body: dict[str, Any] = {
        "model": rng.choice(["mock"] * 20 + ["none"]),
        "messages": [{"role": "user", "content": "word " * rng.randrange(400)}],
        "max_tokens": rng.randrange(1, 40),
        "stream": rng.random() < 0.5,
    }
    headers = {"x-session-id": str(rng.randrange(100_000))}
    if rng.random() < 0.2:
        headers["idempotency-key"] = str(rng.random())
    if rng.random() < 0.05:
        body = {"messages": rng.random()}
    patience = rng.choice([30.0] * 9 + [0.01])
    try:
        async with asyncio.timeout(patience):
            return (await client.post(CHAT, json=body, headers=headers)).status_code
    except TimeoutError:
        return 0
