"""Any answer, cut after any of its frames and taken over by another reader, over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from services.worker.opening import open_model
from shared.progress import ignore_progress
from shared.protocol.attach import ATTACH_PATH, encode_attach
from shared.protocol.frames import EndFrame, Frame, LedgerFrame, StartFrame, TokensFrame, encode
from shared.protocol.resume import RESUME_PATH
from shared.settings import WorkerSettings
from tests.fakes.frame_recording import LockstepWorker, Recording, answered, record, unnamed
from tests.fakes.model_files import save_folder, tiny_llama
from tests.fakes.running_worker import INTERNAL
from tests.fakes.scripted_answers import SCRIPTED, chat, streamed
from tests.fakes.scripted_model import MODEL


def anonymous(start: StartFrame, frame: Frame) -> bytes:
    """Return a frame's bytes without what no two answers have in common."""
    data = encode(frame)[4:].replace(start.id.encode(), b"<id>")
    return data.replace(b'"created":%d' % start.created, b'"created":0')


def said(start: StartFrame, frames: list[TokensFrame]) -> list[bytes]:
    return [anonymous(start, unnamed(frame)._replace(sequence_number=0)) for frame in frames]


def assert_goes_on(
    undisturbed: Recording, start: StartFrame, after: int, found: list[Frame]
) -> None:
    """Check that these frames are what is missing after the first `after` frames of tokens."""
    again, ledger, *rest = found
    assert again == start
    assert isinstance(ledger, LedgerFrame)
    choices = range(undisturbed.choices)
    assert ledger.last_sequence_number == after
    if len(choices) == 1:
        assert ledger.token_ids == [undisturbed.ids(0, after)]
        expected = [*undisturbed.tokens[after:], undisturbed.end]
        assert [anonymous(start, frame) for frame in rest] == [
            anonymous(undisturbed.start, frame) for frame in expected
        ]
        return
    # How choices lie between one another is a matter of time; each by itself is not.
    *tokens, end = rest
    numbers = [frame.sequence_number for frame in tokens]
    assert numbers == [*range(after + 1, after + 1 + len(tokens))]
    for choice in choices:
        mine = [frame for frame in tokens if frame.choice == choice]
        known = ledger.token_ids[choice]
        assert known + [i for frame in mine for i in frame.token_ids] == undisturbed.ids(choice)
        others = [frame for frame in undisturbed.tokens if frame.choice == choice]
        assert said(start, mine) == said(undisturbed.start, others[len(known) :])
    assert anonymous(start, end) == anonymous(undisturbed.start, undisturbed.end)


async def cut(worker: LockstepWorker, path: str, content: bytes, after: int) -> list[Frame]:
    """Return the frames up to the cut."""
    worker.gate.begin()
    return await answered(worker, path, content, most=after)


@pytest.mark.parametrize("name", SCRIPTED)
async def test_an_answer_that_is_cut_anywhere_goes_on_byte_for_byte(scripted, name):
    script, (path, body) = SCRIPTED[name]
    worker = await scripted(script)
    for wanted in (streamed(body), body):
        undisturbed = await record(worker, path, wanted)
        for after in range(len(undisturbed.tokens) + 1):
            start, *_ = await cut(worker, path, orjson.dumps(wanted), after)
            assert isinstance(start, StartFrame)
            found = await worker.attach(start.id, after, wanted)
            assert_goes_on(undisturbed, start, after, found)
    await worker.idle()


@pytest.mark.parametrize("name", ["a stop string", "several choices", "logprobs", "an echo"])
async def test_what_was_sent_to_its_end_is_there_for_a_while(scripted, name):
    """Byte for byte, from any place on: the former reader may have got less than was sent."""
    script, (path, body) = SCRIPTED[name]
    worker = await scripted(script)
    for wanted in (streamed(body), body):
        sent = await record(worker, path, wanted)
        for after in range(len(sent.tokens) + 1):
            start, ledger, *rest = await worker.attach(sent.start.id, after, wanted)
            assert start == sent.start
            told = [sent.ids(choice, after) for choice in range(sent.choices)]
            assert ledger == LedgerFrame(after, told)
            assert [encode(f) for f in rest] == [
                encode(f) for f in (*sent.tokens[after:], sent.end)
            ]


@pytest.mark.parametrize("name", ["a stop string", "several choices", "logprobs", "an echo"])
async def test_a_resumed_answer_goes_on_too_but_not_from_before(scripted, name):
    script, (path, body) = SCRIPTED[name]
    first, other = await scripted(script), await scripted(script)
    for wanted in (streamed(body), body):
        undisturbed = await record(first, path, wanted)
        frames = len(undisturbed.tokens)
        for before in (1, frames // 2, frames):
            for more in range(0, frames - before + 1, 3):
                asks = wanted.get("logprobs") is not None
                other.gate.begin(undisturbed.untold(before) if asks else 0)
                resume = undisturbed.resumption(before)
                start, *_ = await answered(other, RESUME_PATH, resume, most=more)
                found = await other.attach(start.id, before + more, wanted)
                assert len(found) >= 3
                assert isinstance(found[1], LedgerFrame)
                assert found[1].last_sequence_number == before + more
                tokens = [frame for frame in found if isinstance(frame, TokensFrame)]
                for choice in range(undisturbed.choices):
                    mine = [i for f in tokens if f.choice == choice for i in f.token_ids]
                    assert found[1].token_ids[choice] + mine == undisturbed.ids(choice)
                assert encode(found[-1]) == encode(undisturbed.end)
                early = await other.client.post(
                    ATTACH_PATH,
                    content=encode_attach(start.id, before - 1, "", wanted),
                    headers=INTERNAL,
                )
                assert early.status_code == 404
                assert early.json()["error"]["code"] == "answer_not_found"


async def test_one_answer_changes_readers_at_every_frame(scripted):
    script, (path, body) = SCRIPTED["several choices"]
    worker = await scripted(script)
    body = streamed(body)
    undisturbed = await record(worker, path, body)
    start, *_ = await cut(worker, path, orjson.dumps(body), 1)
    # How many there are depends on how many steps came in one.
    whole = await worker.attach(start.id, 0, body)
    count = sum(isinstance(frame, TokensFrame) for frame in whole)
    tokens: list[Any] = []
    for after in range(1, count):
        attach = encode_attach(start.id, after, "", body)
        found = await answered(worker, ATTACH_PATH, attach, most=2)
        tokens.append(found[2])
    *_, end = await worker.attach(start.id, count, body)
    assert isinstance(end, EndFrame)
    assert anonymous(start, end) == anonymous(undisturbed.start, undisturbed.end)
    assert [frame.sequence_number for frame in tokens] == [*range(2, count + 1)]


@pytest.mark.torch
async def test_a_real_models_answer_is_taken_over(tmp_path):
    """With drafts, so that a frame has several tokens, and sampled without a seed."""
    settings = WorkerSettings(
        model=str(save_folder(tiny_llama(), tmp_path / "tiny")),
        model_name=MODEL,
        dtype="float32",
        threads=1,
        max_num_seqs=4,
    )
    worker = await LockstepWorker.of(await asyncio.to_thread(open_model, settings, ignore_progress))
    for changes in ({"temperature": 0, "max_tokens": 40}, {"n": 2, "max_tokens": 12}):
        path, body = chat(**changes)
        body = streamed(body)
        for after in (0, 1, 3, 7):
            begun = await cut(worker, path, orjson.dumps(body), after)
            start, *_ = begun
            rest = await worker.attach(start.id, after, body)
            whole = await worker.attach(start.id, 0, body)
            assert [encode(f) for f in (*begun[1:], *rest[2:])] == [encode(f) for f in whole[2:]]
            assert isinstance(whole[-1], EndFrame)
    await worker.stop()
