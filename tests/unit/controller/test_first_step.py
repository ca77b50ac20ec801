"""A coroutine whose first step is run by hand."""

from __future__ import annotations

import asyncio

import pytest

from services.controller.relay.first_step import begin


async def test_one_that_need_not_wait_is_done_at_once():
    done = []

    async def work():
        await nothing()
        done.append(1)

    async def nothing():
        pass

    assert begin(work()) is None
    assert done == [1]


async def test_one_that_waits_goes_on_when_it_is_awaited():
    gates = [asyncio.get_running_loop().create_future() for _ in range(2)]
    seen = []

    async def work():
        for gate in gates:
            seen.append(await gate)  # noqa: PERF401 - one after the other

    rest = begin(work())
    assert rest is not None
    task = asyncio.ensure_future(rest)
    gates[0].set_result("a")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert seen == ["a"]
    gates[1].set_result("b")
    await task
    assert seen == ["a", "b"]


async def test_one_that_was_waiting_and_is_ready_by_then_does_not_hang():
    gate = asyncio.get_running_loop().create_future()

    async def work():
        await gate

    rest = begin(work())
    gate.set_result(None)
    await asyncio.wait_for(rest, 1)


async def test_faults_come_out_at_once_or_where_it_is_awaited():
    gate = asyncio.get_running_loop().create_future()

    async def at_once():
        raise ValueError("now")

    async def later():
        await gate
        raise ValueError("later")

    with pytest.raises(ValueError, match="now"):
        begin(at_once())
    rest = begin(later())
    gate.set_result(None)
    with pytest.raises(ValueError, match="later"):
        await rest


async def test_a_cancellation_reaches_it():
    ended = []

    async def work():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(1)

    task = asyncio.ensure_future(begin(work()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [1]
