"""A mock worker keeps answers whose reader has gone, and another reader takes them over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest

from shared.protocol.attach import ATTACH_PATH, encode_attach
from shared.protocol.event_id import EventId
from shared.protocol.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    FrameDecoder,
    LedgerFrame,
    StartFrame,
    TokensFrame,
)
from shared.protocol.resume import RESUME_PATH, encode_resume
from tests.fakes.mock.faults import Fault
from tests.fakes.mock.fleet import MockFleet
from tests.fakes.mock.scheduler import Costs
from tests.fakes.mock.worker import MockSettings, MockWorker
from tests.fakes.running_service import TOKEN
from tests.fakes.waiting import eventually

QUICK = Costs(step_seconds=0.001, sequence_seconds=0.0)
HEADERS = {"x-llmzoo-frames": "1", "authorization": f"Bearer {TOKEN}", "x-llmzoo-key": "k"}
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "stream": (CHAT, {"stream": True}),
    "whole": (CHAT, {}),
    "choices": (CHAT, {"stream": True, "n": 3, "stream_options": {"include_usage": True}}),
    "stops": (CHAT, {"stream": True, "n": 2, "stop": ["a", "語"], "max_tokens": 60}),
    "logprobs": (CHAT, {"stream": True, "logprobs": True, "top_logprobs": 2, "stop": "zz"}),
    "sampled": (CHAT, {"stream": True, "temperature": 1.0}),
    "plain": (COMPLETIONS, {"stream": True, "n": 2, "logprobs": 1}),
}


def asked_for(path: str, **changes: Any) -> dict[str, Any]:
    prompt = {"messages": [{"role": "user", "content": "Say it."}]} if path == CHAT else {}
    return {"model": "mock", **(prompt or {"prompt": "Say it."}), "max_tokens": 12, **changes}


LONG = asked_for(CHAT, stream=True, max_tokens=30_000)


class Reading:
    """One answer's frames as they come."""

    def __init__(self, answer: httpx.Response) -> None:
        self.frames: list[Frame] = []
        self._decoder = FrameDecoder()
        self._pieces = answer.aiter_raw()

    async def until(self, count: int = 1_000_000) -> list[Frame]:
        """Read at least so many frames, or to the end."""
        while len(self.frames) < count:
            try:
                piece = await anext(self._pieces)
            except StopAsyncIteration:
                break
            self.frames += self._decoder.feed(piece)
        return self.frames


@pytest.fixture
async def mock() -> AsyncIterator[MockWorker]:
    settings = MockSettings(token=TOKEN, costs=QUICK, orphan_grace=30.0)
    worker = await MockWorker(settings, name="mock").start()
    yield worker
    await worker.stop()


@pytest.fixture
async def client(mock: MockWorker) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=mock.address, timeout=10, trust_env=False) as client:
        yield client


@asynccontextmanager
async def reading(
    client: httpx.AsyncClient, path: str, content: bytes, **headers: str
) -> AsyncGenerator[Reading]:
    sent = {**HEADERS, **headers}
    async with client.stream("POST", path, content=content, headers=sent) as answer:
        if answer.status_code != 200:
            await answer.aread()
        assert answer.status_code == 200, answer.text
        yield Reading(answer)


async def whole(client: httpx.AsyncClient, path: str, content: bytes) -> list[Frame]:
    async with reading(client, path, content) as got:
        return await got.until()


async def attach(client: httpx.AsyncClient, *asked: Any) -> httpx.Response:
    return await client.post(ATTACH_PATH, content=encode_attach(*asked), headers=HEADERS)


def tokens_of(frames: list[Frame]) -> list[TokensFrame]:
    return [frame for frame in frames if isinstance(frame, TokensFrame)]


def choices_of(frames: list[TokensFrame], choices: int) -> list[list[int]]:
    return [[i for f in frames if f.choice == c for i in f.token_ids] for c in range(choices)]


@pytest.mark.parametrize(("path", "changes"), BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("after", [0, 1, 5])
async def test_a_finished_answer_is_told_again_after_any_frame(client, path, changes, after):
    body = asked_for(path, **changes)
    start, *tokens, end = await whole(client, path, orjson.dumps(body))
    assert isinstance(start, StartFrame)
    wanted = encode_attach(start.id, after, "k", body)
    again, ledger, *rest = await whole(client, ATTACH_PATH, wanted)
    assert again == start
    assert isinstance(ledger, LedgerFrame)
    assert ledger.token_ids == choices_of(tokens[:after], len(end.finish_reasons))
    assert ledger.last_sequence_number == after
    assert rest == [*tokens[after:], end]


@pytest.mark.parametrize(("path", "changes"), BODIES.values(), ids=BODIES)
async def test_another_worker_resumes_each_kind_after_each_frame(mock, client, path, changes):
    body = asked_for(path, **changes)
    start, *tokens, end = await whole(client, path, orjson.dumps(body))
    other = await MockWorker(mock.settings, name=mock.name).start()
    async with httpx.AsyncClient(base_url=other.address, trust_env=False) as elsewhere:
        for after in range(0, len(tokens) + 1, 4):
            ids = choices_of(tokens[:after], len(end.finish_reasons))
            resume = encode_resume(path, orjson.dumps(body), start, ids, after, deterministic=True)
            again, *rest, last = await whole(elsewhere, RESUME_PATH, resume)
            assert (again, last) == (start, end)
            # The choices may come in other turns.
            for choice in range(len(ids)):
                expected = [_unnumbered(f) for f in tokens[after:] if f.choice == choice]
                assert [_unnumbered(f) for f in rest if f.choice == choice] == expected
    assert other.engine.counts["prefilled_again"] > 0
    await other.stop()


def _unnumbered(frame: TokensFrame) -> tuple[tuple[int, ...], list[bytes]]:
    lines = frame.data.split(b"\n")
    return frame.token_ids, [line for line in lines if not line.startswith(b"id:")]


async def test_each_frame_with_text_has_one_id_before_its_last_event(client):
    body = asked_for(CHAT, stream=True, n=2, stop=["zzz"])
    start, *tokens, end = await whole(client, CHAT, orjson.dumps(body))
    assert any(not frame.data for frame in tokens)
    for frame in tokens:
        lines = frame.data.split(b"\n")
        ids = [line for line in lines if line.startswith(b"id: ")]
        assert len(ids) == bool(frame.data)
        for line in ids:
            assert lines[-4] == line
            assert EventId.parse(line[4:].decode()) == ("mock", start.id, frame.sequence_number)
    assert b"id: " not in end.data
    plain = await client.post(CHAT, json=body)
    assert b"id: " not in plain.content


async def test_a_stop_string_ends_a_choice_and_is_no_part_of_it(client):
    body = asked_for(CHAT, n=3, stop=["a", "e"], max_tokens=200)
    choices = (await client.post(CHAT, json=body)).json()["choices"]
    assert {choice["finish_reason"] for choice in choices} == {"stop"}
    assert all(not set("ae") & set(choice["message"]["content"]) for choice in choices)


async def test_who_attaches_reads_on_live_and_the_former_reader_is_told(mock, client):
    async with reading(client, CHAT, orjson.dumps(LONG), **{"x-request-id": "one"}) as former:
        start = (await former.until(5))[0]
        wanted = encode_attach(start.id, 3, "k", LONG)
        async with reading(client, ATTACH_PATH, wanted, **{"x-request-id": "two"}) as now:
            last = (await former.until())[-1]
            assert isinstance(last, ErrorFrame)
            assert (last.status, last.error["code"]) == (409, "taken_over")
            # It was one answer all the time.
            received = tokens_of(await now.until(50))
            assert [f.sequence_number for f in received] == list(range(4, 4 + len(received)))
            assert mock.engine.answers == 1
            await client.post("/internal/requests/one/abort", headers=HEADERS)
            assert mock.engine.answers == 1
            await client.post("/internal/requests/two/abort", headers=HEADERS)
            aborted = (await now.until())[-1]
            assert aborted.error["code"] == "aborted"
    assert (await attach(client, start.id, 3, "k", LONG)).status_code == 404


async def test_a_closed_channel_is_no_abort_and_the_grace_ends(mock, client):
    async with reading(client, CHAT, orjson.dumps(LONG)) as got:
        start = (await got.until(3))[0]
    await eventually(lambda: mock.engine.counts["orphaned"] == 1)
    assert mock.engine.answers == 1
    wanted = encode_attach(start.id, 1, "k", LONG)
    async with reading(client, ATTACH_PATH, wanted) as again:
        assert len(tokens_of(await again.until(40))) > 30
    await eventually(lambda: mock.engine.counts["orphaned"] == 2)
    mock.engine.orphan_grace = 0.0
    async with reading(client, ATTACH_PATH, wanted) as again:
        await again.until(3)
    await eventually(lambda: mock.engine.answers == 0)
    assert mock.engine.counts["expired"] == 1
    assert mock.engine.load().kv_tokens_used == 0
    assert (await attach(client, start.id, 1, "k", LONG)).status_code == 404


async def test_an_orphan_is_aborted_by_the_answers_id(mock, client):
    async with reading(client, CHAT, orjson.dumps(LONG)) as got:
        start = (await got.until(3))[0]
    await eventually(lambda: mock.engine.counts["orphaned"] == 1)
    await client.post(f"/internal/requests/{start.id}/abort", headers=HEADERS)
    assert mock.engine.answers == 0


async def test_only_the_same_key_and_body_attach_and_only_where_something_is(client):
    body = asked_for(CHAT, stream=True)
    start, *_ = await whole(client, CHAT, orjson.dumps(body))
    for status, asked in (
        (404, ("chatcmpl-unknown", 0, "k", body)),
        (404, (start.id, 0, "another", body)),
        (404, (start.id, 0, "", body)),
        (400, (start.id, 0, "k", {**body, "max_tokens": 11})),
        (400, (start.id, 13, "k", body)),
        (200, (start.id, 12, "k", dict(reversed(body.items())))),
    ):
        assert (await attach(client, *asked)).status_code == status
    headers = {**HEADERS, "authorization": "Bearer wrong"}
    content = encode_attach(start.id, 0, "k", body)
    refused = await client.post(ATTACH_PATH, content=content, headers=headers)
    assert refused.status_code == 401


async def test_a_resumed_answer_is_kept_from_where_it_was_resumed(mock, client):
    body = asked_for(CHAT, stream=True)
    start, *tokens, _ = await whole(client, CHAT, orjson.dumps(body))
    ids = choices_of(tokens[:4], 1)
    resume = encode_resume(CHAT, orjson.dumps(body), start, ids, 4, deterministic=True)
    other = await MockWorker(mock.settings).start()
    async with httpx.AsyncClient(base_url=other.address, trust_env=False) as elsewhere:
        await whole(elsewhere, RESUME_PATH, resume)
        assert (await attach(elsewhere, start.id, 3, "k", body)).status_code == 404
        assert (await attach(elsewhere, start.id, 4, "k", body)).status_code == 200
    await other.stop()


@pytest.mark.parametrize("wrong", ["a token", "a choice more", "a frame less", "the seed"])
async def test_a_wrong_account_is_refused(client, wrong: str):
    body = asked_for(CHAT, stream=True, temperature=1.0)
    start, *tokens, _ = await whole(client, CHAT, orjson.dumps(body))
    ids, number = choices_of(tokens[:4], 1), 4
    match wrong:
        case "a token":
            ids[0][2] += 1
        case "a choice more":
            ids.append([])
        case "a frame less":
            number = 3
        case _:
            start.seed += 1
    resume = encode_resume(CHAT, orjson.dumps(body), start, ids, number, deterministic=True)
    refused = await client.post(RESUME_PATH, content=resume, headers=HEADERS)
    assert refused.status_code == 400


async def test_what_does_not_finish_in_time_is_handed_back(mock, client):
    asking = asyncio.create_task(whole(client, CHAT, orjson.dumps(LONG)))
    plain = asyncio.create_task(client.post(CHAT, json={**LONG, "stream": False}))
    await eventually(lambda: mock.engine.answers == 2)
    await MockFleet([mock], None).drain(0.1)
    last = (await asking)[-1]
    assert (last.status, last.error["code"]) == (503, "handed_back")
    assert (await plain).json()["error"]["code"] == "unavailable"
    assert mock.engine.counts["handed_back"] == 2
    assert mock.idle


async def test_who_attaches_after_a_stall_gets_all(mock, client):
    body = asked_for(CHAT, stream=True)
    await mock.set_fault(Fault.parse("stall:4*1"))
    async with reading(client, CHAT, orjson.dumps(body)) as got:
        start, *before = await got.until(4)
        wanted = encode_attach(start.id, 3, "k", body)
        _, _, *rest, end = await whole(client, ATTACH_PATH, wanted)
    assert [f.sequence_number for f in [*before, *rest]] == list(range(1, 13))
    assert isinstance(end, EndFrame)
