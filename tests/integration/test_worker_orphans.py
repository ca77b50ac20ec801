"""Answers whose reader has gone or was followed: for how long, for whom, and within which bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest

from shared.protocol.attach import ATTACH_PATH, KEY_HEADER, encode_attach
from shared.protocol.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    FrameDecoder,
    KeepaliveFrame,
    StartFrame,
    TokensFrame,
)
from shared.protocol.resume import RESUME_PATH, encode_resume
from tests.fakes.running_worker import FRAMED, INTERNAL, RunningWorker
from tests.fakes.scripted_model import MODEL, ScriptedRunner, scripted_model
from tests.fakes.waiting import eventually

CHAT = "/v1/chat/completions"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": True}

Start = Callable[..., Awaitable[tuple[RunningWorker, ScriptedRunner]]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """A function that starts a ready worker; its arguments are those of `scripted_model`."""
    running: list[tuple[RunningWorker, ScriptedRunner]] = []

    async def make(script: str, settings: dict[str, Any] | None = None, **limits: Any):
        served, runner = scripted_model(script, **limits)
        worker = await RunningWorker.with_model(served, **(settings or {}))
        running.append((worker, runner))
        return worker, runner

    yield make
    for worker, runner in running:
        runner.go()
        await worker.stop()


class Reading:
    """The frames of an answer as they come, but keepalives."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.frames: list[Frame] = []
        self._decoder = FrameDecoder()
        self._pieces = answer.aiter_raw()

    @property
    def start(self) -> StartFrame:
        assert isinstance(self.frames[0], StartFrame)
        return self.frames[0]

    @property
    def tokens(self) -> list[TokensFrame]:
        return [frame for frame in self.frames if isinstance(frame, TokensFrame)]

    async def until(self, frames: int) -> None:
        while len(self.frames) < frames:
            self._take(await anext(self._pieces))

    async def rest(self) -> Frame:
        """Read to the end and return the last frame."""
        async for piece in self._pieces:
            self._take(piece)
        assert self._decoder.pending == 0
        return self.frames[-1]

    def _take(self, piece: bytes) -> None:
        found = self._decoder.feed(piece)
        self.frames += [frame for frame in found if not isinstance(frame, KeepaliveFrame)]


@asynccontextmanager
async def asked(
    worker: RunningWorker, body: dict[str, Any] | None = None, **headers: str
) -> AsyncIterator[Reading]:
    """Ask in frames; leaving closes the connection."""
    named = {**FRAMED, **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with worker.client.stream("POST", CHAT, json=body or BODY, headers=named) as answer:
        reading = Reading(answer)
        await reading.until(1)
        yield reading


@asynccontextmanager
async def attached(
    worker: RunningWorker, answer: str, after: int = 0, *, key: str = "", name: str = "second"
) -> AsyncIterator[Reading]:
    content = encode_attach(answer, after, key, BODY)
    headers = {**INTERNAL, "x-request-id": name}
    async with worker.client.stream("POST", ATTACH_PATH, content=content, headers=headers) as got:
        assert got.status_code == 200, await got.aread()
        yield Reading(got)


async def refused(worker: RunningWorker, content: bytes, **headers: str) -> tuple[int, str]:
    """Return status and code of an attachment that is refused."""
    answer = await worker.client.post(ATTACH_PATH, content=content, headers={**INTERNAL, **headers})
    return answer.status_code, answer.json()["error"]["code"]


async def gone(worker: RunningWorker, answer: str) -> bool:
    """Ask for what cannot be there yet: it is refused either way, and disturbs no reader."""
    told = await refused(worker, encode_attach(answer, 2**32 - 1, "", BODY))
    assert told in {(404, "answer_not_found"), (400, "invalid_value")}
    return told[0] == 404


async def abort(worker: RunningWorker, wanted: str, **headers: str) -> None:
    path = f"/internal/requests/{wanted}/abort"
    sent = {**INTERNAL, **headers}
    assert (await worker.client.post(path, headers=sent)).status_code == 204


async def orphans(worker: RunningWorker, outcome: str = "") -> float:
    """Return how many there are, or how many ended so."""
    if outcome:
        return await worker.metric("llmzoo_orphans_total", outcome=outcome)
    return await worker.metric("llmzoo_num_orphans")


def becomes(worker: RunningWorker, count: int, outcome: str = "") -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return await orphans(worker, outcome) == count

    return holds


def assert_goes_on(first: Reading, second: Reading, after: int) -> None:
    """Check that the second reader has what is missing of this answer after that frame."""
    numbers = [frame.sequence_number for frame in second.tokens]
    assert numbers == [*range(after + 1, after + 1 + len(numbers))]
    tokens = [i for f in (*first.tokens[:after], *second.tokens) for i in f.token_ids]
    end = second.frames[-1]
    assert isinstance(end, EndFrame)
    assert len(tokens) == end.completion_tokens


async def test_a_closed_connection_is_no_abort(start):
    worker, runner = await start("Hello there")
    runner.hold()
    async with asked(worker) as first:
        runner.allow(2)
        await first.until(3)
    await eventually(becomes(worker, 1))
    runner.go()
    # Nobody reads, and it goes on.
    await worker.idle()
    assert await worker.metric("llmzoo_request_success_total", finish_reason="stop") == 1
    async with attached(worker, first.start.id, 2) as second:
        assert isinstance(await second.rest(), EndFrame)
    assert_goes_on(first, second, 2)
    assert await orphans(worker) == 0
    assert await orphans(worker, "taken_over") == 1


async def test_after_the_grace_period_the_places_are_free(start):
    worker, runner = await start("x" * 3000, {"orphan_grace": 0.2}, max_num_seqs=2)
    runner.hold()
    async with asked(worker, {**BODY, "n": 2}) as reading:
        runner.allow(2)
        await reading.until(3)
    await eventually(becomes(worker, 1, "expired"))
    runner.go()
    await worker.idle()
    assert runner.rows == []
    assert await orphans(worker) == 0
    assert await gone(worker, reading.start.id)
    assert await worker.metric("llmzoo_request_success_total", finish_reason="abort") == 2


async def test_what_ended_is_kept_no_longer_than_that(start):
    worker, runner = await start("Hello", {"orphan_grace": 0.3})
    runner.hold()
    async with asked(worker) as orphan:
        pass
    await eventually(becomes(worker, 1))
    runner.go()
    async with asked(worker) as delivered:
        assert isinstance(await delivered.rest(), EndFrame)
    for reading in (orphan, delivered):
        await eventually(lambda reading=reading: gone(worker, reading.start.id))
    assert await orphans(worker, "ended") == 1
    assert await orphans(worker) == 0


async def test_a_live_reader_is_followed_by_another(start):
    worker, runner = await start("Hello there")
    runner.hold()
    async with asked(worker) as first:
        runner.allow(3)
        await first.until(4)
        async with attached(worker, first.start.id, 2) as second:
            await second.until(3)
            last = await first.rest()
            assert isinstance(last, ErrorFrame)
            assert (last.status, last.error["code"]) == (409, "taken_over")
            runner.go()
            assert isinstance(await second.rest(), EndFrame)
    assert [f.sequence_number for f in first.tokens] == [1, 2, 3]
    assert_goes_on(first, second, 2)
    assert await orphans(worker, "taken_over") == 0
    await worker.idle()


@pytest.mark.parametrize("by", ["second", "answer id"])
async def test_after_a_takeover_the_former_request_is_somebody_else_s(start, by):
    worker, runner = await start("x" * 500)
    runner.hold()
    async with asked(worker, x_request_id="first") as first:
        pass
    async with attached(worker, first.start.id) as second:
        await second.until(2)
        await abort(worker, "first")
        runner.allow(3)
        await second.until(4)
        await abort(worker, first.start.id if by == "answer id" else by)
        runner.go()
        last = await second.rest()
    assert isinstance(last, ErrorFrame)
    assert last.error["code"] == "aborted"
    assert len(second.tokens) < 100
    await worker.idle()
    assert await gone(worker, first.start.id)


@pytest.mark.parametrize("by", ["mine", "answer id"])
async def test_an_orphan_is_aborted_at_once(start, by):
    worker, runner = await start("x" * 500)
    runner.hold()
    async with asked(worker, x_request_id="mine") as reading:
        pass
    await eventually(becomes(worker, 1))
    await abort(worker, reading.start.id if by == "answer id" else by)
    assert await orphans(worker) == 0
    assert await orphans(worker, "aborted") == 1
    assert await gone(worker, reading.start.id)
    runner.go()
    await worker.idle()
    assert runner.rows == []


async def test_who_may_not_have_an_answer_is_told_why(start):
    worker, runner = await start("Hello")
    runner.hold()
    async with asked(worker, x_llmzoo_key="key-1") as reading:
        runner.allow(2)
        await reading.until(3)
        answer = reading.start.id
        good = orjson.loads(encode_attach(answer, 1, "key-1", BODY))
        cases: list[tuple[dict[str, Any], tuple[int, str]]] = [
            ({"key": "key-2"}, (404, "answer_not_found")),
            ({"key": ""}, (404, "answer_not_found")),
            ({"key": "key-2", "body_digest": "other"}, (404, "answer_not_found")),
            ({"answer": "chatcmpl-other"}, (404, "answer_not_found")),
            ({"body_digest": "other"}, (400, "invalid_value")),
            ({"after": 3}, (400, "invalid_value")),
            ({"after": 2**32}, (400, "invalid_value")),
            ({"after": -1}, (400, "invalid_value")),
            ({"after": "1"}, (400, "invalid_type")),
            ({"more": 1}, (400, "unknown_parameter")),
        ]
        for changes, expected in cases:
            assert await refused(worker, orjson.dumps({**good, **changes})) == expected, changes
        for name in good:
            left = {key: value for key, value in good.items() if key != name}
            expected = (400, "missing_required_parameter")
            assert await refused(worker, orjson.dumps(left)) == expected, name
        assert await refused(worker, b"[]") == (400, "invalid_json")
        assert await refused(worker, b" " * 20_000) == (413, "body_too_large")
        for token in ("", "Bearer wrong"):
            told = await refused(worker, orjson.dumps(good), authorization=token)
            assert told == (401, "invalid_api_key")
        # None of them has disturbed the reader, and the right one gets it.
        runner.allow(1)
        await reading.until(4)
        async with attached(worker, answer, 1, key="key-1") as second:
            runner.go()
            assert isinstance(await second.rest(), EndFrame)


async def test_the_body_may_be_written_otherwise(start):
    worker, _ = await start("Hello")
    raw = orjson.dumps(dict(reversed(BODY.items())), option=orjson.OPT_INDENT_2)
    answer = await worker.client.post(CHAT, content=raw, headers=FRAMED)
    (first, *_) = FrameDecoder().feed(answer.content)
    assert isinstance(first, StartFrame)
    async with attached(worker, first.id) as second:
        assert isinstance(await second.rest(), EndFrame)


async def test_plain_answers_cannot_be_taken_over_and_have_no_ids(start):
    worker, runner = await start("x" * 500)
    answer = await worker.client.post(CHAT, json=BODY)
    events = answer.text.split("\n\n")
    assert all(event.startswith("data: ") for event in events if event)
    assert await gone(worker, orjson.loads(events[0].removeprefix("data: "))["id"])
    runner.hold()
    async with worker.client.stream("POST", CHAT, json=BODY) as plain:
        runner.allow(2)
        await anext(plain.aiter_raw())
    runner.allow(5)
    await worker.idle()
    assert await orphans(worker, "aborted") == await orphans(worker) == 0


async def test_with_no_room_for_logs_a_closed_connection_ends_the_answer(start):
    worker, runner = await start("x" * 500, {"answer_log_bytes": 0})
    runner.hold()
    async with asked(worker) as reading:
        runner.allow(2)
        await reading.until(3)
        assert await gone(worker, reading.start.id)
    runner.allow(5)
    await worker.idle()
    assert await orphans(worker, "aborted") == await orphans(worker) == 0


SHARE = 10_000


async def test_an_answer_that_outgrows_its_log_is_read_to_its_end_and_not_taken_over(start):
    worker, runner = await start("x" * 100, {"answer_log_bytes": 8 * SHARE})
    async with asked(worker) as reading:
        assert isinstance(await reading.rest(), EndFrame)
    assert sum(len(frame.token_ids) for frame in reading.tokens) == 101
    assert sum(len(frame.data) for frame in reading.tokens) > SHARE
    assert await gone(worker, reading.start.id)
    # Without a reader it ends where its log does.
    runner.hold()
    async with asked(worker) as orphan:
        pass
    await eventually(becomes(worker, 1))
    runner.allow(60)
    await eventually(becomes(worker, 1, "aborted"))
    runner.allow(5)
    await worker.idle()
    assert await gone(worker, orphan.start.id)


async def test_the_oldest_finished_answers_give_way(start):
    worker, _ = await start("Hello there", {"answer_log_bytes": 8 * SHARE})
    found: list[str] = []
    while not found or not await gone(worker, found[0]):
        async with asked(worker) as reading:
            assert isinstance(await reading.rest(), EndFrame)
        found.append(reading.start.id)
        assert len(found) < 100
    assert len(found) > 8
    assert [await gone(worker, answer) for answer in found[1:]] == [False] * (len(found) - 1)


async def test_what_outlasts_the_drain_is_handed_back_if_anybody_can_go_on_with_it(start):
    worker, runner = await start("x" * 500, {"drain_timeout": 0.4})
    runner.hold()
    async with asked(worker) as framed, asked(worker) as orphan:
        plain = asyncio.create_task(worker.client.post(CHAT, json={**BODY, "stream": False}))
        await orphan.answer.aclose()
        await eventually(becomes(worker, 1))

        async def all_run() -> bool:
            waiting = await worker.metric("llmzoo_num_requests_waiting")
            return waiting + await worker.metric("llmzoo_num_requests_running") == 3

        await eventually(all_run)
        worker.service.drain()
        await eventually(becomes(worker, 1, "aborted"))
        runner.allow(3)
        last = await framed.rest()
    assert isinstance(last, ErrorFrame)
    assert (last.status, last.error["code"]) == (503, "handed_back")
    answer = await plain
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    await worker.idle()


async def test_while_it_drains_answers_are_taken_over_and_aborted(start):
    worker, runner = await start("Hello")
    runner.hold()
    async with asked(worker) as reading, asked(worker) as other:
        pass
    worker.service.drain()
    assert (await worker.client.post(CHAT, json=BODY)).status_code == 503
    await abort(worker, other.start.id)
    async with attached(worker, reading.start.id) as second:
        runner.go()
        assert isinstance(await second.rest(), EndFrame)
    await worker.idle()


async def test_a_fault_of_the_engine_is_kept_for_who_comes_later(start):
    worker, runner = await start("Hello")
    runner.hold()
    async with asked(worker) as reading:
        runner.allow(2)
        await reading.until(3)
    # Each step fails that it is in: with others, then alone.
    runner.fatal = BODY["messages"][0]["content"]
    runner.go()
    await worker.idle()
    async with attached(worker, reading.start.id, 1) as second:
        last = await second.rest()
    assert isinstance(last, ErrorFrame)
    assert (last.status, last.error["code"]) == (500, "engine_fault")
    # Its prefill after the first fault gave one more.
    assert [frame.sequence_number for frame in second.tokens] == [2, 3]


async def test_an_answer_that_comes_back_takes_the_place_of_what_is_held_of_it(start):
    worker, runner = await start("Hello")
    runner.hold()
    async with asked(worker) as first:
        runner.allow(2)
        await first.until(3)
        ids = [token_id for frame in first.tokens[:1] for token_id in frame.token_ids]
        content = encode_resume(
            CHAT, orjson.dumps(BODY), first.start, [ids], 1, deterministic=False
        )
        async with worker.client.stream(
            "POST", RESUME_PATH, content=content, headers=INTERNAL
        ) as resumed:
            second = Reading(resumed)
            await second.until(1)
            last = await first.rest()
            assert isinstance(last, ErrorFrame)
            assert last.error["code"] == "taken_over"
            runner.go()
            assert isinstance(await second.rest(), EndFrame)
    await worker.idle()
    assert await worker.metric("llmzoo_request_success_total", finish_reason="abort") == 1
    async with attached(worker, first.start.id, 1) as third:
        assert isinstance(await third.rest(), EndFrame)
    assert [f.sequence_number for f in third.tokens] == [f.sequence_number for f in second.tokens]


async def test_many_readers_that_come_and_go_leave_nothing(start):
    # Long enough for some frames where several steps come in one.
    worker, _ = await start("Hello there, you" * 8, {"orphan_grace": 0.5}, max_num_seqs=4)

    async def once(at: int) -> None:
        async with asked(worker) as first:
            await first.until(1 + at % 4)
        after = max((frame.sequence_number for frame in first.tokens), default=0)
        async with attached(worker, first.start.id, after) as second:
            if at % 3:
                assert isinstance(await second.rest(), EndFrame)
        if at % 5 == 0:
            await abort(worker, first.start.id)

    for _ in range(5):
        await asyncio.gather(*(once(at) for at in range(12)))
    await eventually(becomes(worker, 0))
    await worker.idle()


@pytest.mark.parametrize("stream", [True, False])
async def test_an_abort_ends_no_answer_of_another_key(start, stream):
    """Two clients may choose one id, and reach the worker through different controllers."""
    worker, runner = await start("Hello there")
    runner.hold()
    chosen = {"x_request_id": "same"}
    async with (
        asked(worker, {**BODY, "stream": stream}, **{KEY_HEADER: "one"}, **chosen) as kept,
        asked(worker, **{KEY_HEADER: "two"}, **chosen) as aborted,
    ):
        await abort(worker, "same", **{KEY_HEADER: "two"})
        runner.go()
        end = await aborted.rest()
        assert isinstance(end, ErrorFrame)
        assert end.error["code"] == "aborted"
        assert isinstance(await kept.rest(), EndFrame)
