"""A controller is killed and started again; our clients come back and show the whole answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.webui.metrics import WebuiMetrics
from services.webui.turn import Turn
from shared.client import ZooClient
from tests.fakes.command_line import LLMZOO, clean_environment
from tests.fakes.controller_process import ControllerProcess
from tests.fakes.mock_process import MockProcess
from tests.fakes.running_service import TOKEN
from tests.fakes.terminal_process import TerminalProcess
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.redis]

TOKENS = 60
QUESTION = "Tell me everything."
BODY: dict[str, Any] = {
    "model": "mock",
    "messages": [{"role": "user", "content": QUESTION}],
    "max_tokens": TOKENS,
    "seed": 7,
}


@pytest.fixture
async def worker(redis_server) -> AsyncIterator[MockProcess]:
    worker = await MockProcess.start("mock-0", redis_server.url, step_ms=30, prefill_rate=1e6)
    yield worker
    await worker.kill()


@pytest.fixture
async def controller(redis_server, tmp_path: Path, worker) -> AsyncIterator[ControllerProcess]:
    controller = ControllerProcess(
        tmp_path / "controller.log",
        redis_url=redis_server.url,
        internal_token=TOKEN,
        heartbeat_interval=0.1,
        heartbeat_ttl=1.0,
        call_store_dir=tmp_path / "calls",
    )

    async def seen() -> bool:
        services = (await controller.client.get("/v1/stats")).json()["services"]
        return any(s["id"] == worker.name and s["state"] == "ready" for s in services)

    await controller.start()
    await eventually(seen)
    yield controller
    await controller.stop()


async def generated(worker: MockProcess) -> int:
    return (await worker.counts())["generated"]


async def test_clients_show_the_whole_answer(controller, worker):
    async with ZooClient(controller.url) as client:
        whole = await client.chat(BODY)
        assert whole.usage["completion_tokens"] == TOKENS
        made = await generated(worker)
        turn = Turn(client, BODY, WebuiMetrics(CollectorRegistry()))
        async with aclosing(turn.texts()) as texts:
            await anext(texts)
            await controller.kill()
            assert len(turn.outcome.text) < len(whole.text)
            await controller.start()
            async for _ in texts:
                pass
    assert turn.outcome.fault is None
    assert (turn.outcome.text, turn.outcome.finish) == (whole.text, "length")
    # It went on and was not begun again.
    assert await generated(worker) == made + TOKENS


async def test_a_chat_in_a_terminal_shows_the_whole_answer(controller, worker, tmp_path):
    async with ZooClient(controller.url) as client:
        whole = await client.chat(BODY)
    made = await generated(worker)
    options = ("--model", "mock", "--max-tokens", str(TOKENS), "--seed", "7", "--style", "plain")
    environment = clean_environment(
        LLMZOO_BASE_URL=controller.url, LLMZOO_STATE_DIR=str(tmp_path / "state")
    )
    with TerminalProcess([*LLMZOO, "chat", *options], environment) as terminal:
        await asyncio.to_thread(terminal.enter, QUESTION)
        await asyncio.to_thread(terminal.expect, whole.text[:20])
        await controller.kill()
        assert "max_tokens" not in terminal.text
        await controller.start()
        await asyncio.to_thread(terminal.expect, "cut off at max_tokens")
        shown = terminal.text
    assert "error" not in shown
    # A pause of over a second is a line of its own, and the terminal has its own line ends.
    written = shown.replace("\n[reconnecting]\n", "").replace("\n", "")
    assert whole.text.replace("\n", "") in written
    assert await generated(worker) == made + TOKENS
