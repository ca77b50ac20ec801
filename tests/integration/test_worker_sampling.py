"""Sampling parameters and logprobs over real sockets, as OpenAI's own client reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.fakes.running_worker import RunningWorker
from tests.fakes.scripted_model import MODEL, scripted_model
from tests.fakes.tiny_tokenizer import TinyTokenizer

HI = [{"role": "user", "content": "Hi"}]
TOKENIZER = TinyTokenizer().backend_tokenizer

Start = Callable[..., Awaitable[RunningWorker]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """A function that starts a ready worker; its arguments are those of `scripted_model`."""
    running: list[RunningWorker] = []

    async def make(*args: Any, **limits: Any) -> RunningWorker:
        served, _ = scripted_model(*args, **limits)
        running.append(await RunningWorker.with_model(served))
        return running[-1]

    yield make
    for worker in running:
        await worker.stop()


def neighbour(token: str, distance: int) -> str:
    """Return the token that the script says is the next likely at `token`'s place."""
    return TOKENIZER.id_to_token(TOKENIZER.token_to_id(token) + distance)


async def test_a_chats_logprobs(start):
    worker = await start("ab😀")
    answer = await worker.openai.chat.completions.create(
        model=MODEL, messages=HI, logprobs=True, top_logprobs=2
    )
    content = answer.choices[0].logprobs.content
    assert b"".join(bytes(token.bytes) for token in content) == "ab😀".encode()
    assert [token.token for token in content[:2]] == ["a", "b"]
    assert content[2].token.startswith("bytes:\\xf0")
    assert {token.logprob for token in content} == {-0.5}
    # The token that ends the turn is counted and has no entry.
    assert answer.usage.completion_tokens == len(content) + 1
    top = content[0].top_logprobs
    assert [(t.token, t.logprob) for t in top] == [("a", -0.5), (neighbour("a", 1), -1.5)]
    assert top[0].bytes == [ord("a")]


async def test_logprobs_alone_tell_no_other_tokens_and_a_chat_without_them_none(start):
    worker = await start("ab")
    create = worker.openai.chat.completions.create
    answer = await create(model=MODEL, messages=HI, logprobs=True)
    assert [token.top_logprobs for token in answer.choices[0].logprobs.content] == [[], []]
    assert (await create(model=MODEL, messages=HI)).choices[0].logprobs is None


async def test_a_streams_logprobs_come_with_their_text_for_each_choice(start):
    worker = await start(lambda _, choice: f"one {choice} 😀 STOP more")
    stream = await worker.openai.chat.completions.create(
        model=MODEL, messages=HI, n=2, stop=" STOP", logprobs=True, top_logprobs=1, stream=True
    )
    choices = [chunk.choices[0] async for chunk in stream]
    for index in range(2):
        own = [choice for choice in choices if choice.index == index]
        told = b""
        for choice in own:
            if choice.logprobs is not None:
                told += b"".join(bytes(token.bytes) for token in choice.logprobs.content)
        assert "".join(choice.delta.content or "" for choice in own) == f"one {index} 😀"
        assert told.decode() == f"one {index} 😀"
        assert (own[0].logprobs, own[-1].logprobs) == (None, None)


async def test_a_completions_logprobs_whole_and_streamed(start):
    worker = await start("é ab")
    create = worker.openai.completions.create
    whole = (await create(model=MODEL, prompt="x", logprobs=1)).choices[0].logprobs
    assert "".join(whole.tokens[2:]) == " ab"
    assert whole.tokens[:2] == ["bytes:\\xc3", "bytes:\\xa9"]
    assert whole.token_logprobs == [-0.5] * 5
    assert whole.top_logprobs[3] == {"a": -0.5}
    assert whole.text_offset == [0, 0, 1, 2, 3]
    stream = await create(model=MODEL, prompt="x", logprobs=1, stream=True)
    streamed = [c.choices[0].logprobs async for c in stream if c.choices[0].logprobs]
    for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
        assert [each for part in streamed for each in getattr(part, name)] == getattr(whole, name)


async def test_zero_logprobs_are_the_tokens_own(start):
    worker = await start("ab")
    answer = await worker.openai.completions.create(model=MODEL, prompt="x", logprobs=0)
    assert answer.choices[0].logprobs.top_logprobs == [{"a": -0.5}, {"b": -0.5}]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_echo_of_text_and_of_token_ids(start, stream):
    worker = await start(lambda prompt, _: prompt.upper())
    ids = TOKENIZER.encode("the<|im_end|>", add_special_tokens=False).ids
    create = worker.openai.completions.create
    for prompt, texts in (
        (["ab. ", "cd. "], {0: "ab. AB", 1: "ab. AB", 2: "cd. CD", 3: "cd. CD"}),
        (ids, dict.fromkeys(range(2), "the<|im_end|>THE<|IM_END|>")),
    ):
        answer = await create(
            model=MODEL, prompt=prompt, echo=True, n=2, stop=".", stream=stream, max_tokens=99
        )
        got: dict[int, str] = {}
        parts = [c async for c in answer] if stream else [answer]
        for choice in (choice for part in parts for choice in part.choices):
            got[choice.index] = got.get(choice.index, "") + choice.text
        assert got == texts


async def test_token_ids_that_stop_and_the_end_that_does_not(start):
    worker = await start("one. two")
    dot, eos = TOKENIZER.token_to_id("."), TOKENIZER.token_to_id("<|im_end|>")
    create = worker.openai.chat.completions.create
    answer = await create(model=MODEL, messages=HI, extra_body={"stop_token_ids": [dot]})
    assert answer.choices[0].message.content == "one"
    assert answer.choices[0].finish_reason == "stop"
    going_on = {"ignore_eos": True}
    answer = await create(model=MODEL, messages=HI, max_tokens=12, extra_body=going_on)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 12
    both = {"ignore_eos": True, "stop_token_ids": [eos]}
    answer = await create(model=MODEL, messages=HI, max_tokens=12, extra_body=both)
    assert answer.choices[0].finish_reason == "stop"


async def test_every_sampling_parameter_is_taken(start):
    worker = await start("ab")
    answer = await worker.openai.chat.completions.create(
        model=MODEL,
        messages=HI,
        temperature=0.7,
        top_p=0.9,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias={"5": -100, "6": 2.5},
        extra_body={"top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1, "min_tokens": 1},
    )
    assert answer.choices[0].message.content == "ab"
