"""The worker's HTTP, over real sockets: OpenAI's API, frames, faults, cancelling."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import openai
import orjson
import pytest

from shared.errors import ModelNotThere
from shared.progress import Progress, Stage
from shared.protocol.frames import (
    MEDIA_TYPE,
    EndFrame,
    ErrorFrame,
    Frame,
    FrameDecoder,
    StartFrame,
    TokensFrame,
)
from tests.fakes.running_worker import FRAMED, INTERNAL, RunningWorker
from tests.fakes.scripted_model import MODEL, ScriptedRunner, scripted_model
from tests.fakes.tiny_tokenizer import TinyTokenizer
from tests.fakes.waiting import eventually

HI = [{"role": "user", "content": "Hi"}]
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"

Start = Callable[..., Awaitable[tuple[RunningWorker, ScriptedRunner]]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """A function that starts a ready worker; its arguments are those of `scripted_model`."""
    running: list[tuple[RunningWorker, ScriptedRunner]] = []

    async def make(*args: Any, settings: dict[str, Any] | None = None, **limits: Any):
        served, runner = scripted_model(*args, **limits)
        worker = await RunningWorker.with_model(served, **(settings or {}))
        running.append((worker, runner))
        return worker, runner

    yield make
    for worker, runner in running:
        runner.go()
        await worker.stop()


def body(**changes: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": HI, **changes}


async def steps_until_idle(worker: RunningWorker, runner: ScriptedRunner) -> None:
    """Count single steps out until nothing is in flight: far fewer than the answer has."""
    steps = 0

    async def nothing_in_flight() -> bool:
        nonlocal steps
        steps += 1
        runner.allow()
        return await worker.metric("llmzoo_inflight_requests") == 0

    await eventually(nothing_in_flight)
    assert steps < 100
    await worker.idle()
    assert runner.rows == []


async def framed(worker: RunningWorker, **changes: Any) -> list[Frame]:
    answer = await worker.client.post(CHAT, json=body(**changes), headers=FRAMED)
    assert answer.headers["content-type"] == MEDIA_TYPE
    decoder = FrameDecoder()
    found = list(decoder.feed(answer.content))
    assert decoder.pending == 0
    return found


async def test_a_chat_with_the_openai_client(start):
    worker, _ = await start("Hello 😀!")
    answer = await worker.openai.chat.completions.create(model=MODEL, messages=HI, n=2, seed=3)
    assert [c.message.content for c in answer.choices] == ["Hello 😀!"] * 2
    assert [c.finish_reason for c in answer.choices] == ["stop", "stop"]
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.system_fingerprint == "fp_scripted"


async def test_a_stream_with_the_openai_client(start):
    worker, _ = await start(lambda _, choice: f"Hello {choice} STOP more", max_num_seqs=4)
    stream = await worker.openai.chat.completions.create(
        model=MODEL,
        messages=HI,
        n=2,
        stop=["STOP"],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    for choice in range(2):
        deltas = [c.choices[0] for c in chunks if c.choices and c.choices[0].index == choice]
        assert deltas[0].delta.role == "assistant"
        assert "".join(d.delta.content or "" for d in deltas) == f"Hello {choice} "
        assert [d.finish_reason for d in deltas if d.finish_reason] == ["stop"]
    assert chunks[-1].choices == []
    # Each choice's tokens up to the one that completed the stop string.
    assert chunks[-1].usage.completion_tokens == 2 * len("Hello 0 STOP")
    await worker.idle()


async def test_plain_completions_with_the_openai_client(start):
    worker, _ = await start(lambda prompt, _: prompt.upper())
    answer = await worker.openai.completions.create(model=MODEL, prompt=["ab", "cd"])
    assert [c.text for c in answer.choices] == ["AB", "CD"]
    stream = await worker.openai.completions.create(model=MODEL, prompt="xyz", stream=True)
    assert "".join([c.choices[0].text async for c in stream]) == "XYZ"


async def test_the_models(start):
    worker, _ = await start()
    assert [m.id async for m in await worker.openai.models.list()] == [MODEL]
    assert (await worker.openai.models.retrieve(MODEL)).id == MODEL
    with pytest.raises(openai.NotFoundError):
        await worker.openai.models.retrieve("other")


async def test_frames_count_up_and_end(start):
    worker, _ = await start("Hello there")
    first, *tokens, end = await framed(worker, stream=True)
    assert isinstance(first, StartFrame)
    assert all(isinstance(frame, TokensFrame) for frame in tokens)
    assert [f.sequence_number for f in tokens] == list(range(1, len(tokens) + 1))
    assert isinstance(end, EndFrame)
    assert end.completion_tokens == sum(len(f.token_ids) for f in tokens)


async def test_a_framed_unary_answer_ends_with_the_whole_body(start):
    worker, _ = await start("Hello")
    *_, end = await framed(worker)
    assert orjson.loads(end.data)["choices"][0]["message"]["content"] == "Hello"


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic wrong"])
async def test_internal_routes_need_the_token(start, authorization):
    worker, _ = await start()
    headers = {"x-llmzoo-frames": "1"}
    if authorization:
        headers["authorization"] = authorization
    for path in (CHAT, COMPLETIONS, "/internal/requests/x/abort"):
        answer = await worker.client.post(path, json=body(), headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"


async def test_all_full_is_429_with_retry_after(start):
    worker, runner = await start("x" * 50, max_num_seqs=1, max_waiting=1)
    runner.hold()
    busy = [asyncio.create_task(worker.client.post(CHAT, json=body())) for _ in range(2)]

    async def full() -> bool:
        running = await worker.metric("llmzoo_num_requests_running")
        return running + await worker.metric("llmzoo_num_requests_waiting") == 2

    await eventually(full)
    answer = await worker.client.post(CHAT, json=body())
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["error"]["type"] == "rate_limit_error"
    runner.go()
    assert [(await task).status_code for task in busy] == [200, 200]


async def test_batch_waits_and_makes_room_for_interactive_requests(start):
    worker, runner = await start("x" * 8, max_num_seqs=1, max_waiting=1)
    runner.hold()
    batch = {"x-llmzoo-priority": "batch"}
    slow = [
        asyncio.create_task(worker.client.post(CHAT, json=body(), headers=batch)) for _ in range(2)
    ]

    async def full() -> bool:
        running = await worker.metric("llmzoo_num_requests_running")
        return running + await worker.metric("llmzoo_num_requests_waiting") == 2

    await eventually(full)
    # Full for batch requests only; the slot is free again at the next step.
    assert (await worker.client.post(CHAT, json=body(), headers=batch)).status_code == 429
    quick = asyncio.create_task(worker.client.post(CHAT, json=body()))

    async def answered() -> bool:
        runner.allow()
        return quick.done()

    await eventually(answered)
    assert not any(task.done() for task in slow)
    runner.go()
    answers = [await quick, *[await task for task in slow]]
    assert {a.json()["choices"][0]["message"]["content"] for a in answers} == {"x" * 8}
    assert await worker.metric("llmzoo_num_preemptions_total") == 1

    refused = await worker.client.post(CHAT, json=body(), headers={"x-llmzoo-priority": "urgent"})
    assert refused.status_code == 400
    assert "x-llmzoo-priority" in refused.json()["error"]["message"]


async def test_a_client_that_leaves_a_stream_frees_its_place(start):
    worker, runner = await start("x" * 500)
    runner.hold()
    async with worker.client.stream("POST", CHAT, json=body(stream=True)) as answer:
        runner.allow(2)
        async for _ in answer.aiter_lines():
            break

    await steps_until_idle(worker, runner)


async def test_a_client_that_leaves_a_unary_request_frees_its_place(start):
    worker, runner = await start("x" * 500)
    runner.hold()
    with pytest.raises(httpx.ReadTimeout):
        await worker.client.post(CHAT, json=body(), timeout=0.3)
    await steps_until_idle(worker, runner)


@pytest.mark.parametrize("by", ["answer id", "request id"])
async def test_an_abort_by_either_id_takes_no_more_than_two_steps(start, by):
    worker, runner = await start("x" * 500)
    runner.hold()
    decoder, found = FrameDecoder(), []
    headers = {**FRAMED, "x-request-id": "mine"}
    async with worker.client.stream("POST", CHAT, json=body(stream=True), headers=headers) as got:
        async for piece in got.aiter_bytes():
            found += decoder.feed(piece)
            if len(found) == 1:
                wanted = found[0].id if by == "answer id" else "mine"
                path = f"/internal/requests/{wanted}/abort"
                assert (await worker.client.post(path, headers=INTERNAL)).status_code == 204
                runner.allow(2)
    assert isinstance(found[-1], ErrorFrame)
    assert found[-1].error["code"] == "aborted"
    await worker.idle()


async def test_aborting_what_is_not_there_is_no_fault(start):
    worker, _ = await start()
    answer = await worker.client.post("/internal/requests/none/abort", headers=INTERNAL)
    assert answer.status_code == 204


async def test_a_fault_of_the_engine(start):
    worker, runner = await start("Hello")
    runner.fatal = "Hi"
    answer = await worker.client.post(CHAT, json=body())
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "engine_fault"
    assert "secret" not in answer.text
    await eventually(worker.ready)
    with pytest.raises(openai.APIError, match="engine failed"):
        async for _ in await worker.openai.chat.completions.create(
            model=MODEL, messages=HI, stream=True
        ):
            pass
    await eventually(worker.ready)
    runner.fatal = None
    assert (await worker.client.post(CHAT, json=body())).is_success
    # Each went on once, and failed the step that it was in alone.
    assert await worker.metric("llmzoo_engine_faults_total") == 4
    assert await worker.metric("llmzoo_engine_resumed_sequences_total") == 2
    assert await worker.metric("llmzoo_request_errors_total", type="server_error") == 2


async def test_a_request_that_fails_every_step_costs_others_nothing_but_time(start):
    worker, runner = await start("Hello there, how are you?")
    runner.fatal = "poison"
    runner.hold()
    poison = body(messages=[{"role": "user", "content": "poison"}])
    calls = [worker.client.post(CHAT, json=each) for each in (body(), poison, body(), body())]
    answering = asyncio.gather(*calls)

    async def all_there() -> bool:
        return await worker.metric("llmzoo_inflight_requests") == 4

    await eventually(all_there)
    runner.go()
    one, poisoned, *others = await answering
    assert (poisoned.status_code, poisoned.json()["error"]["code"]) == (500, "engine_fault")
    for other in (one, *others):
        assert other.json()["choices"][0]["message"]["content"] == "Hello there, how are you?"
    await eventually(worker.ready)


async def test_while_the_engine_restarts_the_worker_is_not_ready_and_says_why(start):
    worker, runner = await start("Hello", max_num_seqs=1)
    runner.hold()
    calls = [asyncio.create_task(worker.client.post(CHAT, json=body())) for _ in range(2)]
    runner.fault = RuntimeError("no such kernel")
    # One step prefills and the next one fails; the trial that follows is not let through yet.
    runner.allow(2)

    async def failed_once() -> bool:
        return not await worker.ready()

    await eventually(failed_once)
    readiness = await worker.client.get("/health/ready")
    assert readiness.status_code == 503
    assert readiness.json() == {
        "pid": os.getpid(),
        "state": "warming",
        "model": MODEL,
        "detail": "the engine is restarting: RuntimeError: no such kernel",
    }
    refused = await worker.client.post(CHAT, json=body())
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    runner.go()
    await eventually(worker.ready)
    # Neither what ran nor what waited was touched by the fault.
    for answer in await asyncio.gather(*calls):
        assert answer.json()["choices"][0]["message"]["content"] == "Hello"
    assert (await worker.client.post(CHAT, json=body())).is_success


async def test_an_engine_beyond_repair_ends_the_worker_with_the_reason(start):
    worker, runner = await start("Hello")
    runner.fault = RuntimeError("step")
    runner.reset_faults = [RuntimeError("device lost")] * 3
    answer = await worker.client.post(CHAT, json=body())
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "engine_fault")

    async def failed() -> bool:
        answer = await worker.client.get("/health/ready")
        return answer.json()["state"] == "failed"

    await eventually(failed)
    assert [str(fault) for fault in worker.failures] == [
        "The engine has failed: RuntimeError: device lost"
    ]
    assert (await worker.client.post(CHAT, json=body())).status_code == 503
    assert await worker.metric("llmzoo_engine_faults_total") == 4


async def test_states_are_visible_while_loading():
    may_go_on, reported = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    served, _ = scripted_model()

    def slow(_settings, report):
        report(Progress(Stage.DOWNLOADING, 43, 100))
        loop.call_soon_threadsafe(reported.set)
        asyncio.run_coroutine_threadsafe(may_go_on.wait(), loop).result(timeout=30)
        return served

    worker = await RunningWorker(slow).listening()
    await reported.wait()
    answer = await worker.client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json() == {
        "state": "downloading",
        "pid": os.getpid(),
        "model": MODEL,
        "progress": 0.43,
    }
    refused = await worker.client.post(CHAT, json=body())
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert (await worker.client.get("/v1/models")).json()["data"] == []
    assert await worker.metric("llmzoo_num_requests_running", model=MODEL) == 0
    may_go_on.set()
    await eventually(worker.ready)
    assert (await worker.client.post(CHAT, json=body())).is_success
    await worker.stop()


async def test_a_model_that_cannot_be_had():
    def missing(_settings, _report):
        raise ModelNotThere("no such model")

    worker = await RunningWorker(missing).listening()

    async def failed() -> bool:
        answer = await worker.client.get("/health/ready")
        told = {"state": "failed", "pid": os.getpid(), "model": MODEL, "detail": "no such model"}
        return answer.json() == told

    await eventually(failed)
    assert [str(fault) for fault in worker.failures] == ["no such model"]
    await worker.stop()


async def test_an_unforeseen_fault_while_loading_ends_the_wait_too():
    def crash(_settings, _report):
        raise MemoryError("too large")

    worker = await RunningWorker(crash).listening()

    async def failed() -> bool:
        return (await worker.client.get("/health/ready")).json()["state"] == "failed"

    await eventually(failed)
    assert "MemoryError" in worker.failures[0].message
    await worker.stop()


async def test_draining_refuses_new_requests_and_finishes_the_running(start):
    worker, runner = await start("Hello", settings={"drain_timeout": 30})
    runner.hold()
    running = asyncio.create_task(worker.client.post(CHAT, json=body()))

    async def runs() -> bool:
        return await worker.metric("llmzoo_inflight_requests") == 1

    await eventually(runs)
    worker.service.drain()
    refused = await worker.client.post(CHAT, json=body())
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert (await worker.client.get("/health/ready")).json()["state"] == "draining"
    runner.go()
    assert (await running).json()["choices"][0]["message"]["content"] == "Hello"


async def test_what_does_not_finish_in_time_gets_an_error(start):
    worker, runner = await start("x" * 500, settings={"drain_timeout": 0.2})
    runner.hold()
    running = asyncio.create_task(framed(worker, stream=True))

    async def runs() -> bool:
        return await worker.metric("llmzoo_inflight_requests") == 1

    await eventually(runs)
    worker.service.drain()
    # One step a little later, as a slow model would.
    await asyncio.sleep(0.3)
    runner.allow(2)
    last = (await running)[-1]
    assert isinstance(last, ErrorFrame)
    assert last.status == 503


async def test_a_silent_stream_is_kept_alive_by_keepalive_frames(start):
    worker, runner = await start("Hi")
    runner.hold()
    decoder, found = FrameDecoder(), []
    request = worker.client.stream("POST", CHAT, json=body(stream=True), headers=FRAMED)
    async with request as answer:
        async for piece in answer.aiter_bytes():
            found += decoder.feed(piece)
            if len(found) == 2:
                runner.go()
    assert type(found[1]).__name__ == "KeepaliveFrame"
    assert isinstance(found[-1], EndFrame)


async def test_a_model_without_a_template(start):
    tokenizer = TinyTokenizer()
    tokenizer.template = None
    worker, _ = await start("Hi", tokenizer=tokenizer)
    answer = await worker.client.post(CHAT, json=body())
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "messages"
    assert (await worker.client.post(COMPLETIONS, json={"model": MODEL, "prompt": "a"})).is_success


async def test_an_answer_is_continued_where_it_was_left(start):
    worker, runner = await start(" three")
    talk = [*HI, {"role": "assistant", "content": "One, two,"}]
    extra = {"continue_final_message": True, "add_generation_prompt": False}
    answer = await worker.openai.chat.completions.create(
        model=MODEL, messages=talk, extra_body=extra
    )
    assert answer.choices[0].message.content == " three"
    assert runner.prompts[-1].endswith("<|im_start|>assistant\nOne, two,")


async def test_a_template_s_stop_strings_end_answers_of_chats_only(start):
    worker, _ = await start("Sure. USER: more", stop_strings=(" USER:",))
    chat = await worker.openai.chat.completions.create(model=MODEL, messages=HI)
    assert chat.choices[0].message.content == "Sure."
    plain = await worker.openai.completions.create(model=MODEL, prompt="a", max_tokens=99)
    assert plain.choices[0].text == "Sure. USER: more"


BAD_CHATS: list[tuple[str, dict[str, Any] | bytes, int, str | None]] = [
    ("malformed JSON", b'{"model": ', 400, None),
    ("no object", b"[]", 400, None),
    ("no body", b"", 400, None),
    ("invalid UTF-8", b'{"model":"\xff"}', 400, None),
    ("NaN", b'{"model":"scripted","messages":[],"temperature":NaN}', 400, "temperature"),
    ("too large", b" " * (64 * 1024), 413, None),
    ("no model", {"messages": HI}, 400, "model"),
    ("no messages", {"model": MODEL}, 400, "messages"),
    ("none to continue", body(continue_final_message=True), 400, "continue_final_message"),
    ("empty messages", body(messages=[]), 400, "messages"),
    ("messages of a wrong type", body(messages="Hi"), 400, "messages"),
    ("an unknown role", body(messages=[{"role": "wizard", "content": "x"}]), 400, "messages[0].role"),
    ("what the template refuses", body(messages=[{"role": "assistant", "content": "x"}]), 400, "messages"),
    ("no content", body(messages=[{"role": "user"}]), 400, "messages[0].content"),
    ("an unknown model", body(model="other"), 404, "model"),
    ("max_tokens 0", body(max_tokens=0), 400, "max_tokens"),
    ("max_tokens -1", body(max_tokens=-1), 400, "max_tokens"),
    ("max_tokens of a wrong type", body(max_tokens="5"), 400, "max_tokens"),
    ("max_tokens beyond the context", body(max_tokens=5000), 400, "max_tokens"),
    ("max_completion_tokens", body(max_completion_tokens=5000), 400, "max_completion_tokens"),
    ("a prompt beyond the context", body(messages=[{"role": "user", "content": "x" * 5000}]), 400, "messages"),
    ("temperature", body(temperature=2.1), 400, "temperature"),
    ("temperature of a wrong type", body(temperature="hot"), 400, "temperature"),
    ("top_p", body(top_p=1.5), 400, "top_p"),
    ("n 0", body(n=0), 400, "n"),
    ("n beyond the places", body(n=100), 400, "n"),
    ("n of a wrong type", body(n=1.5), 400, "n"),
    ("presence_penalty", body(presence_penalty=3), 400, "presence_penalty"),
    ("frequency_penalty", body(frequency_penalty="x"), 400, "frequency_penalty"),
    ("stop with too many", body(stop=list("abcde")), 400, "stop"),
    ("an empty stop", body(stop=""), 400, "stop"),
    ("seed", body(seed=2**70), 400, "seed"),
    ("seed of a wrong type", body(seed="x"), 400, "seed"),
    ("logit_bias", body(logit_bias={"a": 1}), 400, "logit_bias.a"),
    ("top_logprobs", body(logprobs=True, top_logprobs=21), 400, "top_logprobs"),
    ("stream of a wrong type", body(stream="yes"), 400, "stream"),
    ("stream_options without stream", body(stream_options={"include_usage": True}), 400, "stream_options"),
    ("top_logprobs without logprobs", body(top_logprobs=2), 400, "top_logprobs"),
    ("logit_bias beyond the vocabulary", body(logit_bias={"99999": 1}), 400, "logit_bias"),
    ("stop_token_ids beyond the vocabulary", body(stop_token_ids=[99999]), 400, "stop_token_ids"),
    ("min_tokens above max_tokens", body(min_tokens=6, max_tokens=5), 400, "min_tokens"),
    ("top_k", body(top_k=-2), 400, "top_k"),
    ("min_p", body(min_p=1.5), 400, "min_p"),
    ("repetition_penalty", body(repetition_penalty=0), 400, "repetition_penalty"),
    ("ignore_eos", body(ignore_eos="yes"), 400, "ignore_eos"),
    ("an unknown parameter", body(typical_p=0.5), 400, "typical_p"),
    ("tools", body(tools=[{"type": "function"}]), 400, "tools"),
]  # fmt: skip
BAD_COMPLETIONS: list[tuple[str, dict[str, Any], int, str | None]] = [
    ("no prompt", {"model": MODEL}, 400, "prompt"),
    ("an empty prompt", {"model": MODEL, "prompt": ""}, 400, "prompt"),
    ("no prompts", {"model": MODEL, "prompt": []}, 400, "prompt"),
    ("a token outside the vocabulary", {"model": MODEL, "prompt": [10**6]}, 400, "prompt"),
    ("a negative token", {"model": MODEL, "prompt": [-1]}, 400, "prompt[0]"),
    ("a prompt beyond the context", {"model": MODEL, "prompt": "x" * 5000}, 400, "prompt"),
    ("max_tokens beyond the context", {"model": MODEL, "prompt": "x", "max_tokens": 4096}, 400, "max_tokens"),
    ("more prompts than places", {"model": MODEL, "prompt": ["x"] * 60}, 400, "prompt"),
    ("logprobs", {"model": MODEL, "prompt": "x", "logprobs": 6}, 400, "logprobs"),
    ("echo with logprobs", {"model": MODEL, "prompt": "x", "echo": True, "logprobs": 1}, 400, "echo"),
]  # fmt: skip
BAD = [(CHAT, *case) for case in BAD_CHATS] + [(COMPLETIONS, *case) for case in BAD_COMPLETIONS]


def raw(content: dict[str, Any] | bytes) -> bytes:
    return content if isinstance(content, bytes) else json.dumps(content).encode()


async def test_bad_input_is_named_and_the_next_request_works(start):
    worker, _ = await start(settings={"max_body_bytes": 32 * 1024})
    for path, what, content, status, param in BAD:
        answer = await worker.client.post(path, content=raw(content))
        assert answer.status_code == status, (what, answer.text)
        error = answer.json()["error"]
        assert error["param"] == param, (what, error)
        assert error["type"] == "invalid_request_error", what
        assert error["message"], what
    assert (await worker.client.post(CHAT, json=body())).is_success
    assert await worker.metric("llmzoo_request_errors_total", type="server_error") == 0


async def test_ignored_parameters_are_accepted(start):
    worker, _ = await start()
    answer = await worker.client.post(
        CHAT,
        json=body(
            user="u",
            metadata={"a": "b"},
            store=False,
            service_tier="auto",
            safety_identifier="s",
            prompt_cache_key="k",
        ),
    )
    assert answer.is_success


async def test_wrong_paths_and_methods(start):
    worker, _ = await start()
    assert (await worker.client.get(CHAT)).status_code == 405
    assert (await worker.client.post("/v1/nothing")).status_code == 404


async def test_a_thousand_bad_requests_and_a_hundred_aborted_streams_leave_nothing(start):
    worker, _ = await start(
        "x" * 600, max_num_seqs=4, max_waiting=40, settings={"max_body_bytes": 32 * 1024}
    )
    chance = random.Random(0)
    at_once = asyncio.Semaphore(16)

    async def bad() -> None:
        path, what, content, status, _ = chance.choice(BAD)
        async with at_once:
            answer = await worker.client.post(path, content=raw(content))
        assert answer.status_code == status, what

    async def aborted() -> None:
        async with at_once, worker.client.stream("POST", CHAT, json=body(stream=True)) as answer:
            assert answer.status_code == 200
            if chance.random() < 0.5:
                async for _ in answer.aiter_lines():
                    break

    calls = [bad() for _ in range(1000)] + [aborted() for _ in range(100)]
    chance.shuffle(calls)
    await asyncio.gather(*calls)
    await worker.idle()
    assert await worker.metric("llmzoo_request_errors_total", type="server_error") == 0
    assert (await worker.client.post(CHAT, json=body(max_tokens=5))).is_success
