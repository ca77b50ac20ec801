"""Two of three real workers are killed in turn under eight answers: `make test-long`."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.e2e.test_lost_workers import Client, busiest, deterministic_zoo, flat, moved, workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.zoo import Zoo

pytestmark = [pytest.mark.e2e, pytest.mark.model, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def three(demo_model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zoo]:
    with deterministic_zoo(demo_model, tmp_path_factory.mktemp("three"), 3) as zoo:
        yield zoo


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
async def test_two_of_three_are_lost_in_turn(three: Zoo, number: signal.Signals) -> None:
    three.wait_for(lambda: len(workers(three)) == 3, 120)
    undisturbed = await Client(three).ask_all()
    before = moved(three)
    # One that is stopped does not tell any more which process it is.
    processes = workers(three)
    client = Client(three)
    asking = asyncio.create_task(client.ask_all())
    lost: list[int] = []
    for events in (8, 20):
        while not client.under_way(events):
            assert not asking.done(), await asking
            await asyncio.sleep(0.01)
        lost.append(processes.pop(busiest(three)))
        os.kill(lost[-1], number)
    told = await asking
    for pid in lost if number == signal.SIGSTOP else ():
        os.kill(pid, signal.SIGKILL)

    assert flat(told) == flat(undisturbed)
    assert moved(three) - before >= 4
