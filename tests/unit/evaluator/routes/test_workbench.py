"""Figures are made one at a time, once for all who wait, and never without a bound."""

import asyncio
import threading

import pytest

from services.evaluator.routes.workbench import Workbench
from shared.errors import InvalidRequest, Overloaded
from tests.fakes.waiting import eventually


@pytest.fixture
async def bench():
    bench = Workbench(most=2, kept=2)
    yield bench
    await bench.close()


class Making:
    """Makes numbers, held at a gate."""

    def __init__(self):
        self.made = 0
        self.most_at_once = self._at_once = 0
        self.gate = threading.Event()

    def __call__(self):
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        self.gate.wait(10)
        self.made += 1
        self._at_once -= 1
        return self.made


async def test_who_waits_for_the_same_has_the_same(bench):
    making = Making()
    waiting = [asyncio.create_task(bench.get("a", lambda: bench.run(making))) for _ in range(5)]
    await eventually(lambda: making.most_at_once == 1)
    waiting.pop().cancel()
    making.gate.set()
    assert await asyncio.gather(*waiting) == [1, 1, 1, 1]
    assert await bench.get("a", lambda: bench.run(making)) == 1


async def test_one_thread_makes_all_and_few_may_wait(bench):
    making = Making()
    first, second = (asyncio.create_task(bench.get(key, lambda: bench.run(making))) for key in "ab")
    await eventually(lambda: making.most_at_once == 1)
    with pytest.raises(Overloaded):
        await bench.get("c", lambda: bench.run(making))
    making.gate.set()
    assert sorted(await asyncio.gather(first, second)) == [1, 2]
    assert making.most_at_once == 1
    assert await bench.get("c", lambda: bench.run(making)) == 3


async def test_the_last_ones_are_kept(bench):
    making = Making()
    making.gate.set()
    for key in "abc":
        await bench.get(key, lambda: bench.run(making))
    assert await bench.get("c", lambda: bench.run(making)) == 3
    assert await bench.get("a", lambda: bench.run(making)) == 4


async def test_a_failure_is_told_to_all_and_not_kept(bench):
    def failing():
        msg = "no"
        raise InvalidRequest(msg)

    waiting = [bench.get("a", lambda: bench.run(failing)) for _ in range(3)]
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in told] == [InvalidRequest] * 3
    assert await bench.get("a", lambda: bench.run(lambda: 1)) == 1
