from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from prometheus_client import CollectorRegistry

from services.worker.admission import admit_chat, admit_completion
from services.worker.framing import frames
from services.worker.generation import Generation
from services.worker.metrics import WorkerMetrics
from services.worker.served_model import ServedModel
from shared.errors import Overloaded, Unavailable
from shared.protocol.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    KeepaliveFrame,
    StartFrame,
    TokensFrame,
)
from shared.protocol.openai import parse_chat, parse_completion
from shared.protocol.sse import SSEDecoder
from tests.fakes.scripted_model import FINGERPRINT, MODEL, Script, ScriptedRunner, scripted_model
from tests.fakes.tiny_tokenizer import END, TinyTokenizer
from tests.fakes.waiting import eventually


class Zoo:
    """A started engine, and requests to it without HTTP."""

    def __init__(self, script: Script | str = "Hello!", **limits: Any) -> None:
        self.served: ServedModel
        self.runner: ScriptedRunner
        self.served, self.runner = scripted_model(script, **limits)
        self.registry = CollectorRegistry()
        self.metrics = WorkerMetrics(self.registry, MODEL)
        self.served.engine.start(asyncio.get_running_loop())

    async def generation(self, *, silence_seconds: float = 1.0, **changes: Any) -> Generation:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], **changes}
        request = await admit_chat(parse_chat(body), self.served)
        return Generation(request, self.served, self.metrics, 0.0, silence_seconds)

    async def completion(self, **changes: Any) -> Generation:
        body = {"model": MODEL, "prompt": "Hi", **changes}
        request = await admit_completion(parse_completion(body), self.served)
        return Generation(request, self.served, self.metrics, 0.0)

    def frames(self, generation: Generation) -> AsyncIterator[Frame]:
        return frames(generation, FINGERPRINT, MODEL, self.metrics)

    async def answer(self, generation: Generation) -> list[Frame]:
        async with generation:
            return [frame async for frame in self.frames(generation)]

    async def idle(self) -> None:
        """Wait until the engine holds nothing; it says so at its next step only."""

        def holds_nothing() -> bool:
            stats = self.served.engine.stats()
            return not stats.running and not stats.waiting

        await eventually(holds_nothing)
        assert self.runner.rows == []

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, {"model": MODEL, **labels}) or 0.0


@pytest.fixture
async def start() -> AsyncIterator[Any]:
    zoos: list[Zoo] = []

    def make(*args: Any, **limits: Any) -> Zoo:
        zoos.append(Zoo(*args, **limits))
        return zoos[-1]

    yield make
    for zoo in zoos:
        zoo.runner.go()
        await zoo.served.engine.stop()


def chunks(found: list[Frame]) -> list[Any]:
    data = b"".join(f.data for f in found if isinstance(f, TokensFrame | EndFrame))
    *events, done = SSEDecoder().feed(data)
    assert done == b"[DONE]"
    return [orjson.loads(event) for event in events]


def text_of(found: list[Frame], choice: int = 0) -> str:
    deltas = [c["choices"][0] for c in chunks(found) if c["choices"]]
    return "".join(d["delta"].get("content", "") for d in deltas if d["index"] == choice)


async def test_frames_of_a_stream(start):
    zoo = start("Hello 😀!")
    first, *tokens, end = await zoo.answer(await zoo.generation(stream=True, seed=7))
    assert isinstance(first, StartFrame)
    assert (first.seed, first.model, first.fingerprint) == (7, MODEL, FINGERPRINT)
    assert first.id.startswith("chatcmpl-")
    assert [frame.sequence_number for frame in tokens] == list(range(1, len(tokens) + 1))
    assert isinstance(end, EndFrame)
    assert end.finish_reasons == ["stop"]
    ids = [token_id for frame in tokens for token_id in frame.token_ids]
    assert end.completion_tokens == len(ids)
    # The last token ends the turn: counted, not shown.
    assert ids[-1] == TinyTokenizer().backend_tokenizer.token_to_id(END)
    assert text_of([*tokens, end]) == "Hello 😀!"


async def test_the_chunks_have_openais_form(start):
    zoo = start("Hi")
    options = {"include_usage": True}
    found = await zoo.answer(await zoo.generation(stream=True, stream_options=options))
    opening, *middle, closing, usage = chunks(found)
    assert opening["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert opening["object"] == "chat.completion.chunk"
    assert opening["system_fingerprint"] == FINGERPRINT
    assert all(c["usage"] is None for c in (opening, *middle, closing))
    assert all(c["choices"][0]["finish_reason"] is None for c in (opening, *middle))
    assert closing["choices"][0]["delta"] == {}
    assert closing["choices"][0]["finish_reason"] == "stop"
    assert usage["choices"] == []
    prompt, completion = found[0].prompt_tokens, found[-1].completion_tokens
    assert usage["usage"] == {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


async def test_without_include_usage_no_chunk_has_usage(start):
    zoo = start("Hi")
    found = chunks(await zoo.answer(await zoo.generation(stream=True)))
    assert not any("usage" in chunk for chunk in found)


async def test_a_unary_answer_is_in_the_last_frame_alone(start):
    zoo = start("Hello!")
    *tokens, end = (await zoo.answer(await zoo.generation()))[1:]
    assert all(frame.data == b"" for frame in tokens)
    body = orjson.loads(end.data)
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["content"] == "Hello!"
    assert body["usage"]["completion_tokens"] == sum(len(f.token_ids) for f in tokens)


async def test_a_completion_has_its_own_form(start):
    zoo = start(lambda prompt, choice: f"{prompt}-{choice}")
    end = (await zoo.answer(await zoo.completion(prompt=["a", "b"], n=2)))[-1]
    body = orjson.loads(end.data)
    assert body["object"] == "text_completion"
    assert body["id"].startswith("cmpl-")
    assert [c["text"] for c in body["choices"]] == ["a-0", "a-1", "b-2", "b-3"]
    assert [c["index"] for c in body["choices"]] == [0, 1, 2, 3]


async def test_max_tokens_ends_with_length_and_shows_what_was_held_back(start):
    zoo = start("a😀")
    end = (await zoo.answer(await zoo.generation(max_tokens=3)))[-1]
    assert end.finish_reasons == ["length"]
    assert end.completion_tokens == 3
    assert orjson.loads(end.data)["choices"][0]["message"]["content"] == "a\ufffd"


@pytest.mark.parametrize(
    ("stop", "expected", "tokens"),
    [("lo", "Hel", 5), (["Hel", "world"], "", 3), ("!", "Hello world", 12), ("absent", None, 13)],
)
async def test_stop_strings(start, stop, expected, tokens):
    zoo = start("Hello world!")
    end = (await zoo.answer(await zoo.generation(stop=stop)))[-1]
    text = orjson.loads(end.data)["choices"][0]["message"]["content"]
    assert text == ("Hello world!" if expected is None else expected)
    assert end.finish_reasons == ["stop"]
    assert end.completion_tokens == tokens
    await zoo.idle()


async def test_text_that_may_begin_a_stop_string_is_held_back(start):
    zoo = start("Hello lovely")
    found = await zoo.answer(await zoo.generation(stream=True, stop="love me"))
    assert text_of(found) == "Hello lovely"
    sent = [c["choices"][0]["delta"].get("content") for c in chunks(found)]
    assert not any(piece in {"l", "lo", "lov", "love"} for piece in sent[7:-1])


async def test_a_stop_string_ends_its_choice_alone(start):
    zoo = start(lambda _, choice: ["short X tail" * 9, "a much longer answer"][choice])
    found = await zoo.answer(await zoo.generation(stream=True, n=2, stop="X"))
    assert found[-1].finish_reasons == ["stop", "stop"]
    assert text_of(found, 0) == "short "
    assert text_of(found, 1) == "a much longer answer"
    await zoo.idle()


async def test_silence_is_told(start):
    zoo = start("Hi")
    zoo.runner.hold()
    generation = await zoo.generation(silence_seconds=0.01)
    async with generation:
        source = zoo.frames(generation)
        assert isinstance(await anext(source), StartFrame)
        assert isinstance(await anext(source), KeepaliveFrame)
        assert isinstance(await anext(source), KeepaliveFrame)
        zoo.runner.go()
        rest = [frame async for frame in source]
    assert isinstance(rest[-1], EndFrame)


async def test_leaving_early_releases_everything(start):
    zoo = start("x" * 500, max_num_seqs=2)
    async with await zoo.generation(stream=True, n=2) as generation:
        source = zoo.frames(generation)
        await anext(source)
        await anext(source)
        await source.aclose()
    await zoo.idle()
    assert zoo.counted("llmzoo_request_success_total", finish_reason="abort") == 2
    assert (await zoo.answer(await zoo.generation()))[-1].finish_reasons == ["stop"]


async def test_an_abort_ends_within_one_step(start):
    zoo = start("x" * 500)
    zoo.runner.hold()
    generation = await zoo.generation(stream=True)
    async with generation:
        source = zoo.frames(generation)
        await anext(source)
        zoo.runner.allow(1)
        await anext(source)
        generation.abort(Unavailable("gone", code="aborted"))
        zoo.runner.go()
        *late, last = [frame async for frame in source]
    assert sum(len(frame.token_ids) for frame in late) <= 1
    assert isinstance(last, ErrorFrame)
    assert (last.status, last.error["code"]) == (503, "aborted")
    await zoo.idle()


async def test_a_fault_of_the_engine_is_the_last_frame_and_the_next_request_works(start):
    zoo = start("Hello!")
    zoo.runner.fatal = "Hi"
    last = (await zoo.answer(await zoo.generation(stream=True, n=2)))[-1]
    assert isinstance(last, ErrorFrame)
    assert last.status == 500
    assert "secret" not in str(last.error)
    assert zoo.counted("llmzoo_request_errors_total", type="server_error") == 1
    zoo.runner.fatal = None
    assert isinstance((await zoo.answer(await zoo.generation()))[-1], EndFrame)


async def test_after_one_failed_step_an_answer_goes_on_as_if_there_had_been_none(start):
    zoo = start("Hello!")
    answers = []
    for fault in (None, RuntimeError("boom")):
        zoo.runner.fault = fault
        found = await zoo.answer(await zoo.generation(stream=True, n=2, logprobs=True))
        answers.append([whole(found, choice) for choice in range(2)])
    assert zoo.served.engine.stats().faults == 1
    assert answers[0] == answers[1]


def whole(found: list[Frame], choice: int) -> tuple[str, list[Any], list[str]]:
    """Return a choice's text, logprobs and finish reasons, in however many chunks they came."""
    told = [c["choices"][0] for c in chunks(found) if c["choices"]]
    mine = [each for each in told if each["index"] == choice]
    logprobs = [entry for each in mine for entry in (each["logprobs"] or {}).get("content", [])]
    reasons = [each["finish_reason"] for each in mine if each["finish_reason"]]
    return text_of(found, choice), logprobs, reasons


async def test_a_prompt_that_takes_all_memory_says_so(start):
    zoo = start("Hello!")
    zoo.runner.prefill_faults.append(torch_out_of_memory())
    last = (await zoo.answer(await zoo.generation(stream=True)))[-1]
    assert isinstance(last, ErrorFrame)
    assert (last.status, last.error["code"]) == (500, "engine_fault")
    assert "memory" in last.error["message"]
    assert "tried to allocate" not in str(last.error)
    assert isinstance((await zoo.answer(await zoo.generation()))[-1], EndFrame)


def torch_out_of_memory() -> RuntimeError:
    return RuntimeError(
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."
    )


async def test_all_choices_are_admitted_or_none(start):
    zoo = start("Hello!", max_num_seqs=2, max_waiting=1)
    zoo.runner.hold()
    async with await zoo.generation(n=2):
        with pytest.raises(Overloaded) as caught:
            async with await zoo.generation(n=2):
                pass
        assert caught.value.retry_after
        zoo.runner.go()
    await zoo.idle()
    assert isinstance((await zoo.answer(await zoo.generation(n=2)))[-1], EndFrame)


async def test_a_slow_reader_gets_what_piled_up_in_one_frame(start):
    zoo = start("abcdefgh")
    generation = await zoo.generation(stream=True)
    async with generation:
        source = zoo.frames(generation)
        await anext(source)
        await eventually(lambda: generation._outputs.qsize() >= 9)
        frame = await anext(source)
        assert len(frame.token_ids) == 9
        assert [type(f) async for f in source] == [EndFrame]


async def test_what_is_counted(start):
    zoo = start("Hello!")
    found = await zoo.answer(await zoo.generation(n=2))
    assert zoo.counted("llmzoo_prompt_tokens_total") == found[0].prompt_tokens
    assert zoo.counted("llmzoo_generation_tokens_total") == 14
    assert zoo.counted("llmzoo_request_success_total", finish_reason="stop") == 2
    assert zoo.counted("llmzoo_time_to_first_token_seconds_count") == 1
    assert zoo.counted("llmzoo_e2e_request_latency_seconds_count") == 1


TIMES = ("queue_time", "prefill_time", "decode_time", "inference_time", "time_per_output_token")


async def test_each_choice_is_timed_once_at_its_end(start):
    zoo = start("Hello!")

    def total(name: str) -> float:
        return zoo.counted(f"llmzoo_request_{name}_seconds_sum")

    found = await zoo.answer(await zoo.generation(n=2))
    for name in TIMES:
        assert zoo.counted(f"llmzoo_request_{name}_seconds_count") == 2
    assert total("prefill_time") + total("decode_time") == pytest.approx(total("inference_time"))
    # Six of the seven tokens come after the first one.
    assert total("time_per_output_token") == pytest.approx(total("decode_time") / 6)
    assert zoo.counted("llmzoo_request_prompt_tokens_sum") == 2 * found[0].prompt_tokens
    assert zoo.counted("llmzoo_request_generation_tokens_sum") == 14
    assert zoo.counted("llmzoo_request_generation_tokens_bucket", le="5.0") == 0
    assert zoo.counted("llmzoo_request_generation_tokens_bucket", le="10.0") == 2


async def test_who_leaves_the_queue_has_waited_and_nothing_else(start):
    zoo = start("Hello!", max_num_seqs=1)
    zoo.runner.hold()
    async with await zoo.generation():
        async with await zoo.generation():
            pass
        assert zoo.counted("llmzoo_request_queue_time_seconds_count") == 1
        assert zoo.counted("llmzoo_request_generation_tokens_bucket", le="1.0") == 1
        for name in TIMES[1:]:
            assert zoo.counted(f"llmzoo_request_{name}_seconds_count") == 0
        zoo.runner.go()


async def test_the_queue_is_timed_up_to_the_admission(start):
    zoo = start("Hello!", max_num_seqs=1)
    zoo.runner.hold()
    async with await zoo.generation() as first, await zoo.generation() as second:
        before = time.monotonic()
        assert first.request.sequences[0].admitted_at <= before
        zoo.runner.go()
        assert [frame async for frame in zoo.frames(first)]
        assert [frame async for frame in zoo.frames(second)]
        waited = second.request.sequences[0].admitted_at - before
    assert waited > 0
    assert zoo.counted("llmzoo_request_queue_time_seconds_sum") >= waited
    assert zoo.counted("llmzoo_request_queue_time_seconds_count") == 2


async def test_the_time_between_tokens_is_counted_once_a_token(start):
    zoo = start("Hello")
    zoo.runner.hold()
    generation = await zoo.generation()
    async with generation:
        source = zoo.frames(generation)
        await anext(source)
        for _ in range(6):
            zoo.runner.allow(1)
            await anext(source)
    assert zoo.counted("llmzoo_inter_token_latency_seconds_count") == 5
