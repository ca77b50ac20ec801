"""Events on their way to a client, where the worker was lost before the first of them went out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.controller.metrics import ControllerMetrics, Meter
from services.controller.relay.call import Call
from services.controller.relay.event_relay import EventRelay
from services.controller.relay.running_answer import RunningAnswer
from shared.errors import LLMZooError, UpstreamFailed
from shared.protocol.frames import Frame, StartFrame, TokensFrame


class LostExchange:
    """It has told of its end already, and has these frames left."""

    broken = True
    heard_at = 0.0

    def __init__(self, *left: list[Frame]) -> None:
        self._left = [*left]

    def take(self) -> list[Frame]:
        if not self._left:
            raise UpstreamFailed("lost")
        return self._left.pop(0)

    def listen(self, _: Any) -> None:
        pass

    def note_token(self) -> None:
        pass


class NoMover:
    async def move(self, _: RunningAnswer, fault: LLMZooError) -> None:
        raise fault


@pytest.mark.parametrize("pieces", [0, 1, 2, 3])
async def test_a_loss_behind_any_number_of_pieces_is_noticed(pieces):
    left = [[TokensFrame(n, 0, (n,), b"%d" % n)] for n in range(1, pieces + 1)]
    exchange: Any = LostExchange(*left)
    mover: Any = NoMover()
    call = Call("id", "/v1/completions", "toy", True, b"{}", 0.0)
    answer = RunningAnswer(call, exchange, StartFrame("a", 0, "toy", 0, 1, "f"))
    meter = Meter(ControllerMetrics(CollectorRegistry()).model("toy"), 0.0)
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message["body"])

    async with asyncio.timeout(1):
        await EventRelay(answer, mover, meter, send).run()

    assert b"".join(sent).startswith(b"".join(b"%d" % n for n in range(1, pieces + 1)) + b"data: ")
    assert answer.ledger.total == pieces
