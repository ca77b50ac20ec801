"""`/tokenize` and `/detokenize` over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fakes.running_worker import RunningWorker
from tests.fakes.scripted_model import MODEL, scripted_model
from tests.fakes.tiny_tokenizer import BEGIN, END, START, TinyTokenizer, byte_level

HI = [{"role": "user", "content": "the"}]
RENDERED = "<|im_start|>user\nthe<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture
async def worker() -> AsyncIterator[RunningWorker]:
    served, _ = scripted_model()
    worker = await RunningWorker.with_model(served)
    yield worker
    await worker.stop()


@pytest.fixture
async def beginning() -> AsyncIterator[RunningWorker]:
    """A worker whose tokenizer puts a token before each text."""
    from tokenizers import processors  # noqa: PLC0415 - as the worker is

    backend = byte_level()
    begin = backend.token_to_id(BEGIN)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, begin)]
    )
    served, _ = scripted_model(tokenizer=TinyTokenizer(backend, bos=BEGIN))
    worker = await RunningWorker.with_model(served)
    yield worker
    await worker.stop()


async def post(worker: RunningWorker, path: str, **body: Any) -> dict[str, Any]:
    answer = await worker.client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_prompt_and_back(worker):
    told = await post(worker, "/tokenize", prompt="the 😀", model=MODEL, return_token_strs=True)
    assert told["token_strs"] == ["the", "Ġ", "ðŁ", "ĺ", "Ģ"]
    assert told["count"] == len(told["tokens"]) == 5
    assert told["max_model_len"] == 4096
    assert await post(worker, "/detokenize", tokens=told["tokens"]) == {"prompt": "the 😀"}


async def test_strings_come_only_when_asked_for(worker):
    told = await post(worker, "/tokenize", prompt="the")
    assert told["token_strs"] is None


async def test_a_conversation_is_what_a_chat_request_makes_of_it(worker):
    told = await post(worker, "/tokenize", messages=HI)
    assert await post(worker, "/detokenize", tokens=told["tokens"]) == {"prompt": RENDERED}
    chat = await worker.openai.chat.completions.create(model=MODEL, messages=HI)
    assert chat.usage.prompt_tokens == told["count"]


async def test_a_conversation_without_the_answers_beginning(worker):
    told = await post(worker, "/tokenize", messages=HI, add_generation_prompt=False)
    text = (await post(worker, "/detokenize", tokens=told["tokens"]))["prompt"]
    assert text == f"{START}user\nthe{END}\n"


async def test_a_conversation_that_goes_on_with_its_last_message(worker):
    messages = [*HI, {"role": "assistant", "content": "So"}]
    told = await post(
        worker,
        "/tokenize",
        messages=messages,
        add_generation_prompt=False,
        continue_final_message=True,
    )
    text = (await post(worker, "/detokenize", tokens=told["tokens"]))["prompt"]
    assert text.endswith("assistant\nSo")


async def test_tokens_before_the_text_are_added_unless_told_otherwise(beginning):
    with_them = await post(beginning, "/tokenize", prompt="the", return_token_strs=True)
    without = await post(
        beginning, "/tokenize", prompt="the", add_special_tokens=False, return_token_strs=True
    )
    assert (with_them["token_strs"], without["token_strs"]) == ([BEGIN, "the"], ["the"])


async def test_nothing_comes_to_nothing(worker):
    assert (await post(worker, "/tokenize", prompt=""))["tokens"] == []
    assert await post(worker, "/detokenize", tokens=[]) == {"prompt": ""}


async def test_a_long_text_goes_there_and_back(worker):
    text = "the world " * 2000
    told = await post(worker, "/tokenize", prompt=text)
    assert told["count"] > told["max_model_len"]
    assert (await post(worker, "/detokenize", tokens=told["tokens"]))["prompt"] == text


@pytest.mark.parametrize(
    ("path", "body", "param", "code"),
    [
        ("/tokenize", {}, "prompt", "missing_required_parameter"),
        ("/tokenize", {"prompt": 1}, "prompt", "invalid_type"),
        ("/tokenize", {"prompt": "a", "n": 1}, "n", "unknown_parameter"),
        ("/tokenize", {"prompt": "a", "messages": HI}, "prompt", "unknown_parameter"),
        ("/tokenize", {"messages": []}, "messages", "invalid_value"),
        ("/tokenize", {"messages": HI, "tools": []}, "tools", "unknown_parameter"),
        (
            "/tokenize",
            {"messages": [{"role": "tool", "content": ""}]},
            "messages[0].role",
            "unsupported_parameter",
        ),
        ("/tokenize", {"prompt": "a", "add_special_tokens": 1}, "add_special_tokens", None),
        ("/detokenize", {}, "tokens", "missing_required_parameter"),
        ("/detokenize", {"tokens": [1.5]}, "tokens[0]", "invalid_type"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]", "invalid_value"),
        ("/detokenize", {"tokens": [99999]}, "tokens", "invalid_value"),
        ("/detokenize", {"tokens": [1], "prompt": ""}, "prompt", "unknown_parameter"),
    ],
)
async def test_each_fault_is_named(worker, path, body, param, code):
    answer = await worker.client.post(path, json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert code in {None, error["code"]}
    assert await worker.metric("llmzoo_request_errors_total", type="invalid_request_error") == 1


@pytest.mark.parametrize(
    ("path", "body"), [("/tokenize", {"prompt": "a"}), ("/detokenize", {"tokens": [1]})]
)
async def test_another_model_is_not_here(worker, path, body):
    answer = await worker.client.post(path, json={**body, "model": "other"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_body_that_is_no_json_or_too_large(worker):
    answer = await worker.client.post("/tokenize", content=b"{")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")
    answer = await worker.client.post("/tokenize", content=b" " * (3 * 2**20))
    assert answer.status_code == 413


async def test_before_the_model_is_there():
    may_go_on = asyncio.Event()
    loop = asyncio.get_running_loop()
    served, _ = scripted_model()

    def slow(_settings, _report):
        asyncio.run_coroutine_threadsafe(may_go_on.wait(), loop).result(timeout=30)
        return served

    worker = await RunningWorker(slow).listening()
    answer = await worker.client.post("/tokenize", json={"prompt": "a"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    may_go_on.set()
    await worker.stop()
