"""A turn against a controller over real sockets: however it is stopped, the request is closed."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from prometheus_client import CollectorRegistry

from services.webui.metrics import WebuiMetrics
from services.webui.turn import Turn
from shared.client import ZooClient
from tests.fakes.controller_app import FakeController, Script, ServedApp
from tests.fakes.waiting import eventually

BODY = {"model": "demo", "messages": [{"role": "user", "content": "go"}]}


@pytest.mark.parametrize("steps", range(12))
async def test_a_second_stop_at_any_step_of_the_first_does_not_keep_the_request_open(steps):
    controller = FakeController(scripts={"go": Script(["word "] * 100_000, pause=0.01)})
    with ServedApp(controller.app) as served:
        async with ZooClient(served.url) as client:
            turn = Turn(client, BODY, WebuiMetrics(CollectorRegistry()))
            async with aclosing(turn.texts()) as texts:
                await anext(texts)
                turn.stop()
                for _ in range(steps):
                    await asyncio.sleep(0)
                turn.stop()
            await eventually(lambda: not controller.streaming, seconds=5)
    assert controller.cut == 1
    assert turn.outcome.finish == "cancelled"


async def test_a_page_that_is_cancelled_while_its_turn_ends_does_not_keep_the_request_open():
    controller = FakeController(scripts={"go": Script(["word "] * 100_000, pause=0.01)})
    with ServedApp(controller.app) as served:
        async with ZooClient(served.url) as client:
            for steps in range(12):
                turn = Turn(client, BODY, WebuiMetrics(CollectorRegistry()))
                asked = asyncio.create_task(_all(turn))
                await eventually(lambda: bool(controller.streaming), seconds=5)
                turn.stop()
                for _ in range(steps):
                    await asyncio.sleep(0)
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
                await eventually(lambda: not controller.streaming, seconds=5)
    assert controller.cut == len(range(12))


async def _all(turn: Turn) -> None:
    async with aclosing(turn.texts()) as texts:
        async for _ in texts:
            pass
