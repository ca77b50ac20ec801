"""An answer and its readers, each a connection that takes what comes, or not yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.worker.answer_log import AnswerLog, LogSpace
from services.worker.frame_reader import FrameReader
from services.worker.framed_answer import FramedAnswer, Owner
from shared.http.departure import Departure
from shared.protocol.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    FrameDecoder,
    KeepaliveFrame,
    StartFrame,
    TokensFrame,
    encode,
)

START = StartFrame("a", 1, "model", 2, 3, "fp")
END = EndFrame(["stop"], 1, 1, b"")


class Connection:
    """A reader: like uvicorn's `send`, it waits before it writes, and not for a client that left."""

    def __init__(self) -> None:
        self.departure = Departure()
        self.taking = asyncio.Event()
        self.taking.set()
        self.ended = False
        self._decoder = FrameDecoder()
        self.frames: list[Frame] = []
        self.reader = FrameReader(self._send, self.departure, "request")

    @property
    def numbers(self) -> list[int]:
        return [f.sequence_number for f in self.frames if isinstance(f, TokensFrame)]

    def leave(self) -> None:
        self.departure.depart()
        self.taking.set()

    async def _send(self, message: Any) -> None:
        await self.taking.wait()
        if self.departure.gone or message["type"] == "http.response.start":
            return
        assert not self.ended
        found = self._decoder.feed(message["body"])
        assert self._decoder.fault is None
        if START in found:
            assert not self.frames
            found.remove(START)
        self.frames += found
        self.ended = not message["more_body"]


class Telling:
    """An answer whose frames the test gives."""

    def __init__(self) -> None:
        self.given: asyncio.Queue[Frame | Exception] = asyncio.Queue()
        self.released = self.alone = self.last = 0
        self.closed = False
        generation: Any = SimpleNamespace(request=SimpleNamespace(id="a"), release=self._release)
        self.answer = FramedAnswer(
            generation,
            self._frames(),
            AnswerLog(LogSpace(1 << 30), encode(START), [()], 0),
            Owner("", ""),
            self._left_alone,
        )
        self.tasks: list[asyncio.Task[None]] = []

    def tell(self, count: int = 1) -> None:
        for _ in range(count):
            self.last += 1
            self.given.put_nowait(TokensFrame(self.last, 0, (self.last,), b""))

    def attach(self, after: int = 0) -> Connection:
        connection = Connection()
        self.tasks.append(asyncio.create_task(self.answer.serve(connection.reader, after)))
        return connection

    async def settle(self) -> None:
        """Let everything happen that can happen by itself."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def close(self) -> None:
        self.answer.stop()
        await self.answer.stopped()
        await self.settle()
        assert self.released == 1
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _frames(self) -> AsyncIterator[Frame]:
        try:
            while True:
                frame = await self.given.get()
                if isinstance(frame, Exception):
                    raise frame
                yield frame
                if isinstance(frame, EndFrame):
                    return
        finally:
            self.closed = True

    def _release(self) -> None:
        self.released += 1

    def _left_alone(self, answer: FramedAnswer) -> None:
        assert answer is self.answer
        assert not answer.read
        self.alone += 1


@pytest.fixture
async def telling() -> AsyncIterator[Telling]:
    made = Telling()
    yield made
    await made.close()


async def test_a_slow_reader_is_waited_for(telling):
    slow = telling.attach()
    await telling.settle()
    slow.taking.clear()
    telling.tell(5)
    await telling.settle()
    # One frame waits for it, the others were not even asked for.
    assert (slow.numbers, telling.answer.log.last, telling.given.qsize()) == ([], 1, 4)
    slow.taking.set()
    await telling.settle()
    assert slow.numbers == [1, 2, 3, 4, 5]


async def test_without_a_reader_it_runs_freely(telling):
    telling.tell(5)
    telling.given.put_nowait(END)
    await telling.settle()
    assert telling.answer.over
    assert (telling.released, telling.alone, telling.closed) == (1, 1, True)
    late = telling.attach(3)
    await telling.settle()
    assert (late.numbers, late.frames[-1], late.ended) == ([4, 5], END, True)
    assert telling.answer.delivered


@pytest.mark.parametrize("how", ["is followed", "leaves"])
async def test_a_reader_that_takes_nothing_stops_nobody(telling, how):
    slow = telling.attach()
    await telling.settle()
    slow.taking.clear()
    telling.tell(3)
    await telling.settle()
    if how == "leaves":
        # Even where its `send` would not come back.
        telling.answer.leave(slow.reader)
        await telling.settle()
        assert telling.answer.log.last == 3
        assert telling.alone == 1
    second = telling.attach()
    telling.given.put_nowait(END)
    await telling.settle()
    assert (second.numbers, second.ended) == ([1, 2, 3], True)
    assert (slow.frames, slow.ended) == ([], False)
    slow.taking.set()
    await telling.settle()
    if how == "is followed":
        (told,) = slow.frames
        assert isinstance(told, ErrorFrame)
        assert told.error["code"] == "taken_over"
        assert slow.ended


async def test_who_catches_up_slowly_is_waited_for_and_may_be_followed(telling):
    telling.tell(200)
    await telling.settle()
    first = Connection()
    first.taking.clear()
    telling.tasks.append(asyncio.create_task(telling.answer.serve(first.reader, 0)))
    await telling.settle()
    telling.tell(2)
    await telling.settle()
    assert telling.answer.log.last == 200
    second = telling.attach(150)
    await telling.settle()
    assert second.numbers == [*range(151, 203)]
    first.taking.set()
    await telling.settle()
    assert [type(frame) for frame in first.frames] == [ErrorFrame]


async def test_signs_of_life_are_for_who_reads_and_are_not_kept(telling):
    first = telling.attach()
    await telling.settle()
    telling.given.put_nowait(KeepaliveFrame())
    telling.tell()
    await telling.settle()
    assert [type(frame) for frame in first.frames] == [KeepaliveFrame, TokensFrame]
    second = telling.attach()
    await telling.settle()
    assert [type(frame) for frame in second.frames] == [TokensFrame]


async def test_an_end_that_comes_with_a_takeover_is_an_end(telling):
    slow = telling.attach()
    await telling.settle()
    slow.taking.clear()
    telling.tell()
    telling.given.put_nowait(END)
    await telling.settle()
    second = telling.attach()
    telling.answer.stop()
    await telling.settle()
    # Both the frame and the task were given up: the second is more than the first.
    assert telling.answer.over
    assert telling.released == 1
    assert second.numbers == [1]
    assert not second.ended


async def test_a_fault_that_nobody_foresaw_cuts_the_reader_off(telling):
    reader = telling.attach()
    await telling.settle()
    telling.given.put_nowait(RuntimeError("unforeseen"))
    await telling.settle()
    with pytest.raises(RuntimeError, match="unforeseen"):
        await telling.tasks[0]
    assert (reader.ended, telling.alone) == (False, 1)
    assert not telling.answer.log.whole


async def test_what_is_stopped_before_it_began_holds_nothing():
    telling = Telling()
    telling.answer.stop()
    await telling.close()
    assert telling.alone == 1


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("tell"), st.integers(1, 80)),
        st.tuples(st.just("attach"), st.integers(0, 400)),
        st.tuples(st.just("turns"), st.integers(1, 20)),
        st.tuples(st.sampled_from(["leave", "block", "unblock"]), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_whoever_reads_misses_nothing_and_gets_nothing_twice(steps):
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[str, int]]) -> None:
    """Do these steps, then let a last reader see the end."""
    telling = Telling()
    readers: list[tuple[int, Connection]] = []
    for name, number in steps:
        if name == "tell":
            telling.tell(number)
        elif name == "attach":
            after = min(number, telling.answer.log.last)
            readers.append((after, telling.attach(after)))
        elif name == "turns":
            for _ in range(number):
                await asyncio.sleep(0)
        elif readers:
            connection = readers[-1][1]
            change = {"leave": connection.leave, "block": connection.taking.clear}
            change.get(name, connection.taking.set)()
    readers.append((0, telling.attach()))
    telling.given.put_nowait(END)
    for _, connection in readers:
        connection.taking.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*telling.tasks)
    for after, connection in readers:
        assert connection.numbers == [*range(after + 1, after + 1 + len(connection.numbers))]
        # It had everything, was told that another one reads, or left.
        assert connection.departure.gone or (connection.ended and connection.frames)
        if END in connection.frames:
            assert after + len(connection.numbers) == telling.last
    last = readers[-1][1]
    assert last.numbers == [*range(1, telling.last + 1)]
    assert (last.frames[-1], last.ended) == (END, True)
    assert telling.answer.delivered
    await telling.close()
