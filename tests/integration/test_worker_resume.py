"""Any answer, resumed by another worker after any of its frames, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from services.worker.opening import open_model
from services.worker.served_model import ServedModel
from shared.progress import ignore_progress
from shared.protocol.frames import EndFrame, ErrorFrame, Frame, FrameDecoder, StartFrame, encode
from shared.protocol.prefix_chain import chain_of
from shared.protocol.priority import PRIORITY_HEADER
from shared.protocol.resume import RESUME_PATH
from shared.protocol.sse import SSEDecoder
from shared.settings import WorkerSettings
from tests.fakes.frame_recording import LockstepWorker, Recording, answered, record, unnamed
from tests.fakes.model_files import save_folder, tiny_llama
from tests.fakes.running_worker import INTERNAL
from tests.fakes.scripted_answers import SCRIPTED, STOPS, chat, completion, streamed
from tests.fakes.scripted_model import FINGERPRINT, MODEL, scripted_model
from tests.fakes.waiting import eventually


async def assert_any_cut_is_healed(first: LockstepWorker, other: LockstepWorker, path, body):
    """Record an answer, resume it after each of its frames, and return the recording."""
    recording = await record(first, path, body)
    for after in range(len(recording.tokens) + 1):
        assert_continues(recording, after, await other.resume(recording, after))
    return recording


def assert_continues(recording: Recording, after: int, found: list[Frame]) -> None:
    start, *tokens, end = found
    rest = recording.tokens[after:]
    assert start == recording.start
    assert [f.sequence_number for f in tokens] == [*range(after + 1, after + 1 + len(tokens))]
    assert encode(end) == encode(recording.end)
    if recording.choices == 1:
        assert [unnamed(f) for f in tokens] == [unnamed(f) for f in rest]
        return
    # How choices lie between one another is a matter of time; each by itself is not.
    for choice in range(recording.choices):
        mine = [(f.token_ids, unnamed(f).data) for f in tokens if f.choice == choice]
        assert mine == [(f.token_ids, unnamed(f).data) for f in rest if f.choice == choice]


def chunks(frames: list[Any]) -> list[dict[str, Any]]:
    """Return what a stream's frames say, or the one body of a whole answer."""
    data = b"".join(frame.data for frame in frames)
    if data.startswith(b"{"):
        return [orjson.loads(data)]
    return [orjson.loads(event) for event in SSEDecoder().feed(data) if event != b"[DONE]"]


def content(frames: list[Any]) -> str:
    deltas = [c["delta"] for chunk in chunks(frames) for c in chunk["choices"]]
    return "".join(delta.get("content", "") for delta in deltas)


def entries(frames: list[Any]) -> list[dict[str, Any]]:
    """Return the logprobs of a chat, or of a part of one."""
    told = [choice["logprobs"] for chunk in chunks(frames) for choice in chunk["choices"]]
    return [entry for each in told if each for entry in each["content"]]


@pytest.mark.parametrize("name", SCRIPTED)
async def test_a_resumed_answer_is_the_same_byte_for_byte(scripted, name):
    script, (path, body) = SCRIPTED[name]
    first, other = await scripted(script), await scripted(script)
    for wanted in (streamed(body), body):
        recording = await assert_any_cut_is_healed(first, other, path, wanted)
        assert recording.tokens
    await other.idle()


@pytest.mark.parametrize("stream", [True, False])
async def test_logprobs_of_several_choices_are_told_once(scripted, stream):
    """Tokens that come again for one choice lie between the new ones of the other."""
    first, other = await scripted("{choice} STO STOP"), await scripted("{choice} STO STOP")
    path, body = chat(logprobs=True, n=2, stop=STOPS)
    recording = await record(first, path, streamed(body) if stream else body)
    for after in range(len(recording.tokens) + 1):
        raw = recording.resumption(after)
        other.gate.run_free()
        _, *tokens, end = await answered(other, RESUME_PATH, raw)
        assert encode(end) == encode(recording.end)
        numbers = [f.sequence_number for f in tokens]
        assert numbers == [*range(after + 1, after + 1 + len(tokens))]
        for choice in range(2):
            mine = [f for f in tokens if f.choice == choice]
            rest = [f for f in recording.tokens[after:] if f.choice == choice]
            assert [i for f in mine for i in f.token_ids] == [i for f in rest for i in f.token_ids]
            if stream:
                assert content(mine) == content(rest)
                assert entries(mine) == entries(rest)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> WorkerSettings:
    """Settings of a worker with a real, tiny model."""
    folder = save_folder(tiny_llama(), tmp_path_factory.mktemp("model") / "tiny")
    # A step takes less than most prompts have, so that emitted tokens come in chunks too.
    return WorkerSettings(
        model=str(folder),
        model_name=MODEL,
        dtype="float32",
        threads=1,
        max_num_seqs=4,
        max_num_batched_tokens=16,
        # A token a frame, so that frames can be compared.
        draft_tokens=0,
    )


def opened(settings: WorkerSettings) -> ServedModel:
    return open_model(settings, ignore_progress)


async def two_of(settings: WorkerSettings) -> AsyncIterator[tuple[LockstepWorker, LockstepWorker]]:
    """Yield two workers of a model, each with weights of its own."""
    opening = [await asyncio.to_thread(opened, settings) for _ in range(2)]
    first, other = [await LockstepWorker.of(served) for served in opening]
    yield first, other
    for worker in (first, other):
        await worker.stop()


@pytest.fixture
async def pair(tiny) -> AsyncIterator[tuple[LockstepWorker, LockstepWorker]]:
    async for workers in two_of(tiny):
        yield workers


@pytest.fixture
async def drafting_pair(tiny) -> AsyncIterator[tuple[LockstepWorker, LockstepWorker]]:
    async for workers in two_of(tiny.model_copy(update={"draft_tokens": 8})):
        yield workers


SAMPLED = {"temperature": 1.1, "top_p": 0.95, "max_tokens": 14}
PENALTIES = {
    "presence_penalty": 0.7,
    "frequency_penalty": 0.4,
    "repetition_penalty": 1.2,
    "logit_bias": {"40": 3, "41": -5},
}
REAL: dict[str, tuple[str, dict[str, Any]]] = {
    "greedy": chat(temperature=0, max_tokens=14),
    # Whatever it draws, the turn does not end by itself.
    "sampled without a seed": chat(**SAMPLED, logit_bias={"2": -100}),
    "with penalties": chat(**SAMPLED, **PENALTIES, seed=-3),
    "truncated": completion(temperature=1.4, top_k=30, min_p=0.02, seed=4, max_tokens=14),
    "a least length": chat(**SAMPLED, seed=5, min_tokens=10, logit_bias={"2": 20}),
    "several choices": chat(**SAMPLED, seed=6, n=3, logit_bias={"2": 2.5}),
    "several prompts": completion(
        prompt=[[5, 6], [70, 71, 72]], echo=True, n=2, seed=7, max_tokens=6
    ),
}


@pytest.mark.torch
@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_real_models_answer_is_resumed_byte_for_byte(pair, name, stream):
    path, body = REAL[name]
    recording = await assert_any_cut_is_healed(*pair, path, streamed(body) if stream else body)
    assert len(recording.tokens) >= 10


@pytest.mark.torch
async def test_what_comes_in_drafts_is_resumed_with_the_same_tokens_and_text(drafting_pair):
    """A frame has the tokens of a step, and where a resumed answer begins it drafts anew."""
    first, other = drafting_pair
    first.gate.begin()
    path, body = chat(temperature=0, max_tokens=40)
    start, *told, end = await answered(first, path, orjson.dumps(streamed(body)))
    recording = Recording(path, streamed(body), start, told, end, 1)
    assert any(len(frame.token_ids) > 1 for frame in told)
    for after in range(len(told) + 1):
        _, *tokens, ended = await other.resume(recording, after)
        assert encode(ended) == encode(end)
        rest = told[after:]
        assert [i for f in tokens for i in f.token_ids] == [i for f in rest for i in f.token_ids]
        assert content(tokens) == content(rest)


@pytest.mark.torch
async def test_a_stop_string_of_a_real_model_is_found_across_any_cut(pair):
    path, body = chat(**SAMPLED, seed=8)
    whole = orjson.loads((await record(pair[0], path, body)).end.data)
    text = whole["choices"][0]["message"]["content"]
    stops = [text[at : at + 5] for at in (1, 4, 6)]
    for stop in stops:
        recording = await assert_any_cut_is_healed(*pair, path, streamed({**body, "stop": stop}))
        assert recording.end.finish_reasons == ["stop"]
        assert len(recording.tokens) < whole["usage"]["completion_tokens"]


@pytest.mark.torch
@pytest.mark.parametrize("stream", [True, False])
async def test_a_real_models_logprobs_are_those_of_each_token(pair, stream):
    """The tokens are the same; a prefill rounds otherwise than a decode in the last digits."""
    path, body = chat(**SAMPLED, seed=9, logprobs=True, top_logprobs=3, stop=["\ufffd\ufffd\ufffd"])
    recording = await record(pair[0], path, streamed(body) if stream else body)
    for after in range(len(recording.tokens) + 1):
        _, *tokens, end = await pair[1].resume(recording, after)
        rest = recording.tokens[after:]
        assert [f.token_ids for f in tokens] == [f.token_ids for f in rest]
        got = entries([*tokens, end])
        expected = entries([*rest, recording.end])
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert one["token"] == other["token"]
            assert one["logprob"] == pytest.approx(other["logprob"], abs=1e-4)
            assert [t["token"] for t in one["top_logprobs"]] == [
                t["token"] for t in other["top_logprobs"]
            ]


@pytest.mark.torch
@pytest.mark.model
async def test_the_demo_models_answer_is_resumed():
    settings = WorkerSettings(model="demo", model_name=MODEL, dtype="float32", max_num_seqs=2)
    worker = await LockstepWorker.of(await asyncio.to_thread(opened, settings))
    question = [{"role": "user", "content": "What is the capital of France?"}]
    # With any other seed a draw could fall where a prefill's last digits decide.
    for changes in ({"temperature": 0}, {"temperature": 0.8, "n": 2, "seed": 5}):
        path, body = chat(messages=question, max_tokens=16, stop="apit", **changes)
        recording = await record(worker, path, streamed(body))
        frames = len(recording.tokens)
        for after in (0, 1, frames // 2, frames - 1, frames):
            assert_continues(recording, after, await worker.resume(recording, after))
    await worker.stop()


async def post(worker: LockstepWorker, content: dict[str, Any] | bytes, **more: Any):
    raw = content if isinstance(content, bytes) else orjson.dumps(content)
    headers = {**INTERNAL, **more}
    return await worker.client.post(RESUME_PATH, content=raw, headers=headers)


@pytest.mark.parametrize("authorization", ["", "Bearer wrong"])
async def test_the_fleet_alone_may_resume(scripted, authorization):
    worker = await scripted("Hello")
    answer = await post(worker, b"{}", authorization=authorization)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "an unknown path": ({"path": "/v1/embeddings"}, 400, "path"),
    "an unknown field": ({"extra": 1}, 400, "extra"),
    "no flag": ({"deterministic": None}, 400, "deterministic"),
    "a body at fault": ({"body": chat(temperature=9)[1]}, 400, "temperature"),
    "another model's body": ({"body": chat(model="other")[1]}, 404, "model"),
    "another model's start": ({"start": {"model": "other"}}, 400, "start.model"),
    "another prompt": ({"start": {"prompt_tokens": 5}}, 400, "start.prompt_tokens"),
    "another seed": ({"start": {"seed": 5}}, 400, "start.seed"),
    "no seed": ({"start": {"seed": 1.5}}, 400, "start.seed"),
    "too few choices": ({"token_ids": [[40, 41]]}, 400, "token_ids"),
    "too many choices": ({"token_ids": [[40], [40], []]}, 400, "token_ids"),
    "no token": ({"token_ids": [[40], [-1]]}, 400, "token_ids[1][0]"),
    "outside the vocabulary": ({"token_ids": [[40], [99999]]}, 400, "token_ids[1]"),
    "more than max_tokens": (
        {"token_ids": [[40], [40] * 5], "last_sequence_number": 6},
        400,
        "token_ids[1][4]",
    ),
    "more frames than tokens": ({"last_sequence_number": 3}, 400, "last_sequence_number"),
    "fewer frames than choices": ({"last_sequence_number": 1}, 400, "last_sequence_number"),
}


async def test_what_cannot_be_resumed_is_named_and_the_next_works(scripted):
    worker = await scripted("Hello")
    path, body = chat(n=2, seed=3, max_tokens=4)
    recording = await record(worker, path, streamed(body))
    good = orjson.loads(recording.resumption(2))
    for what, (changes, status, param) in BAD.items():
        content = {**good, **changes}
        if "start" in changes:
            content["start"] = {**good["start"], **changes["start"]}
        answer = await post(worker, content)
        assert answer.status_code == status, (what, answer.text)
        assert answer.json()["error"]["param"] == param, (what, answer.text)
        assert answer.json()["error"]["type"] == "invalid_request_error", what
    for missing in good:
        answer = await post(worker, {name: good[name] for name in good if name != missing})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, missing)
    assert (await post(worker, b"[]")).status_code == 400
    assert_continues(recording, 2, await worker.resume(recording, 2))


async def test_tokens_beyond_a_stop_are_refused(scripted):
    worker = await scripted("ab. STOP more")
    path, body = chat(stop="STOP", stop_token_ids=[99])
    recording = await record(worker, path, streamed(body))
    whole = orjson.loads(recording.resumption(len(recording.tokens)))
    for index, ids in ((8, [*whole["token_ids"][0], 40]), (1, [99, 40])):
        content = {**whole, "token_ids": [ids], "last_sequence_number": len(ids)}
        answer = await post(worker, content)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == f"token_ids[0][{index}]"


async def test_another_fingerprint_is_told_and_refused_where_it_must_be_exact(scripted):
    worker = await scripted("Hello")
    path, body = chat()
    recording = await record(worker, path, streamed(body))
    content = orjson.loads(recording.resumption(2))
    content["start"]["fingerprint"] = "fp_other"
    refused = await post(worker, content)
    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "fingerprint_mismatch"
    assert refused.json()["error"]["param"] == "start.fingerprint"
    worker.gate.run_free()
    start, *_, end = await answered(
        worker, RESUME_PATH, orjson.dumps({**content, "deterministic": False})
    )
    assert isinstance(start, StartFrame)
    assert start.fingerprint == FINGERPRINT
    assert encode(end) == encode(recording.end)


async def test_a_held_back_token_that_becomes_another_one_is_a_fault(scripted):
    first, other = await scripted("ab STOOD"), await scripted("ab STEAM")
    path, body = chat(stop="STOP", logprobs=True)
    recording = await record(first, path, streamed(body))
    after = len("ab STO")
    failed = (await other.resume(recording, after))[-1]
    assert isinstance(failed, ErrorFrame)
    assert (failed.status, failed.error["code"]) == (500, "continuation_differs")
    # Without logprobs nothing comes again: the tokens are taken as they were sent.
    path, body = chat(stop="STOP")
    recording = await record(first, path, streamed(body))
    *_, end = await other.resume(recording, after)
    assert isinstance(end, EndFrame)
    await other.idle()


async def test_an_end_alone_needs_no_place(scripted):
    worker = await scripted("Hello", max_num_seqs=1, max_waiting=0)
    path, body = chat()
    recording = await record(worker, path, streamed(body))
    frames = len(recording.tokens)
    # The only place is taken by an answer whose tokens nobody reads.
    worker.gate.begin()
    async with worker.client.stream("POST", path, json=streamed(body)) as busy:
        await anext(busy.aiter_raw())
        raw = recording.resumption(frames)
        assert [type(f) for f in await answered(worker, RESUME_PATH, raw)] == [StartFrame, EndFrame]
        full = await post(worker, recording.resumption(frames - 1))
        assert full.status_code == 429
        assert int(full.headers["retry-after"]) >= 1
    await worker.idle()


async def test_a_resumed_answer_is_aborted_by_its_id(scripted):
    worker = await scripted("x" * 100)
    path, body = chat()
    recording = await record(worker, path, streamed(body))
    worker.gate.begin()
    abort = f"/internal/requests/{recording.start.id}/abort"
    found: list[Frame] = []
    decoder = FrameDecoder()
    content = recording.resumption(3)
    headers = {**INTERNAL, "x-request-id": "mine"}
    async with worker.client.stream(
        "POST", RESUME_PATH, content=content, headers=headers
    ) as answer:
        async for piece in answer.aiter_raw():
            found += decoder.feed(piece)
            if len(found) == 2:
                assert (await worker.client.post(abort, headers=INTERNAL)).status_code == 204
                worker.gate.run_free()
    assert isinstance(found[-1], ErrorFrame)
    assert found[-1].error["code"] == "aborted"
    await worker.idle()


async def test_a_resumed_answer_has_the_priority_of_its_request(scripted):
    """A batch one makes room for an interactive one, and is the same for all that."""
    first, other = await scripted("x" * 30), await scripted("x" * 30, max_num_seqs=1)
    path, body = chat()
    recording = await record(first, path, streamed(body))
    raw = recording.resumption(20)
    refused = await post(other, raw, **{PRIORITY_HEADER: "urgent"})
    assert (refused.status_code, PRIORITY_HEADER in refused.text) == (400, True)
    other.gate.begin()
    resuming = asyncio.create_task(post(other, raw, **{PRIORITY_HEADER: "batch"}))

    async def runs() -> bool:
        return await other.metric("llmzoo_num_requests_running") == 1

    await eventually(runs)
    quick = asyncio.create_task(other.client.post(path, json=body))

    async def waits() -> bool:
        return await other.metric("llmzoo_num_requests_waiting") == 1

    await eventually(waits)
    other.gate.run_free()
    assert (await quick).is_success
    assert await other.metric("llmzoo_num_preemptions_total") == 1
    _, *tokens, end = FrameDecoder().feed((await resuming).content)
    assert [i for f in tokens for i in f.token_ids] == recording.ids(0)[20:]
    assert content(tokens) == content(recording.tokens[20:])
    assert encode(end) == encode(recording.end)


@pytest.mark.torch
async def test_a_resumed_answer_reuses_what_is_kept_of_it(pair):
    worker = pair[0]
    path, body = chat(messages=[{"role": "user", "content": "Say it again. " * 11}], max_tokens=40)
    recording = await record(worker, path, streamed({**body, "ignore_eos": True}))
    before = await worker.metric("llmzoo_prefix_cache_hits_total")

    assert_continues(recording, 38, await worker.resume(recording, 38))

    reused = await worker.metric("llmzoo_prefix_cache_hits_total") - before
    # The last of the tokens that were told is computed in any case: the next is drawn from it.
    assert reused == recording.start.prompt_tokens + 37


async def test_what_a_resumed_answer_begins_with_is_kept_for_controllers_to_see(scripted):
    first, other = await scripted("Hello"), await scripted("Hello", prefix_cache_tokens=4000)
    path, body = chat(messages=[{"role": "user", "content": "x" * 600}])
    recording = await record(first, path, streamed(body))

    assert_continues(recording, 2, await other.resume(recording, 2))

    assert len(chain_of(body)) == 2
    assert other.served.engine.beginnings() == list(chain_of(body))


async def test_what_came_to_another_worker_is_not_timed_here(scripted):
    first, other = await scripted("Hello"), await scripted("Hello")
    path, body = chat()
    recording = await record(first, path, streamed(body))
    await other.resume(recording, 2)
    rest = len(recording.tokens) - 2
    assert await other.metric("llmzoo_time_to_first_token_seconds_count") == 0
    assert await other.metric("llmzoo_inter_token_latency_seconds_count") == rest - 1
    assert await other.metric("llmzoo_generation_tokens_total") == rest


async def test_a_body_that_was_small_enough_once_is_so_with_its_tokens():
    served, _ = scripted_model("Hello", max_model_len=8000)
    worker = await LockstepWorker.of(served, max_body_bytes=4096)
    path, body = chat(messages=[{"role": "user", "content": "x" * 3900}])
    recording = await record(worker, path, streamed(body))
    assert len(recording.resumption(3)) > 4096 - 10
    assert_continues(recording, 3, await worker.resume(recording, 3))
    assert (await post(worker, b" " * (17 * 1024 * 1024))).status_code == 413
    await worker.stop()
