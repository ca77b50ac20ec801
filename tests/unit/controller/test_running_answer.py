"""An answer that an operator wants elsewhere, and which loses its worker meanwhile."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from services.controller.relay.call import Call
from services.controller.relay.loss import MoveAsked
from services.controller.relay.running_answer import Moved, RunningAnswer
from shared.errors import Gone
from shared.protocol.frames import StartFrame


class FakeExchange:
    def __init__(self, worker: str) -> None:
        self.worker = SimpleNamespace(id=worker)

    def take(self) -> list[Any]:
        return []

    def wake(self) -> None:
        pass

    def close(self) -> None:
        pass


def exchange(worker: str) -> Any:
    return FakeExchange(worker)


def stalled(_: float) -> None:
    pass


@pytest.fixture
def answer():
    call = Call("id", "/v1/completions", "toy", True, b"{}", 0.0)
    return RunningAnswer(call, exchange("first"), StartFrame("a", 0, "toy", 0, 1, "f"))


@pytest.mark.parametrize("target", ["", "second"])
async def test_a_loss_that_brings_it_there_grants_the_wish(answer, target):
    told = answer.ask_to_move(target)

    answer.go_on(exchange("second"), stalled, exact=False)

    assert await told == Moved("second", exact=False)
    assert answer.take() == []


async def test_a_loss_that_brings_it_elsewhere_does_not(answer):
    told = answer.ask_to_move("third")

    answer.go_on(exchange("second"), stalled)

    assert not told.done()
    with pytest.raises(MoveAsked):
        answer.take()
    answer.go_on(exchange("third"), stalled)
    assert await told == Moved("third", exact=True)


async def test_a_new_connection_to_the_same_worker_is_no_move(answer):
    told = answer.ask_to_move("")

    answer.go_on(answer.exchange, stalled)

    assert not told.done()
    with pytest.raises(MoveAsked):
        answer.take()


async def test_an_answer_that_ends_grants_nothing(answer):
    told = answer.ask_to_move("")

    answer.close()

    with pytest.raises(Gone):
        await told
