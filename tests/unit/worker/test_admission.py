from __future__ import annotations

from typing import Any

import pytest

from services.worker.admission import AdmittedRequest, admit_chat, admit_completion
from services.worker.engine.sequence import SamplingParams
from shared.errors import ContextTooLong, InvalidRequest, ModelNotFound, RequestError
from shared.protocol.openai import parse_chat, parse_completion
from tests.fakes.scripted_model import MODEL, scripted_model

CONTEXT = 100
SERVED, _ = scripted_model(max_num_seqs=4, max_waiting=4, max_model_len=CONTEXT)


async def chat(**changes: Any) -> AdmittedRequest:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], **changes}
    return await admit_chat(parse_chat(body), SERVED)


async def completion(**changes: Any) -> AdmittedRequest:
    return await admit_completion(
        parse_completion({"model": MODEL, "prompt": "Hi", **changes}), SERVED
    )


async def refused(admitting: Any, kind: type[RequestError], param: str) -> RequestError:
    with pytest.raises(kind) as caught:
        await admitting
    assert caught.value.param == param
    return caught.value


async def test_a_chat_without_max_tokens_may_fill_the_context():
    request = await chat()
    (sequence,) = request.sequences
    assert request.prompt_tokens == len(sequence.prompt_ids)
    assert sequence.params.max_tokens == CONTEXT - request.prompt_tokens
    assert (sequence.params.temperature, sequence.params.top_p) == (1.0, 1.0)


async def test_a_completion_without_max_tokens_has_sixteen_or_what_fits():
    assert (await completion()).sequences[0].params.max_tokens == 16
    long = await completion(prompt="x" * (CONTEXT - 3))
    assert long.sequences[0].params.max_tokens == 3


async def test_each_choice_of_each_prompt_is_a_sequence():
    request = await completion(prompt=["a", "bc"], n=2, seed=-5, temperature=0)
    assert [s.choice for s in request.sequences] == [0, 1, 2, 3]
    assert [len(s.prompt_ids) for s in request.sequences] == [1, 1, 2, 2]
    assert len({s.request_id for s in request.sequences}) == 4
    assert {s.params.seed for s in request.sequences} == {-5} == {request.seed}
    # A prompt is counted once, whatever n is.
    assert request.prompt_tokens == 3


async def test_without_a_seed_one_is_made_each_time():
    assert (await chat()).seed != (await chat()).seed


async def test_token_ids_are_taken_as_they_are():
    request = await completion(prompt=[5, 6, 7])
    assert request.sequences[0].prompt_ids == (5, 6, 7)


async def test_what_is_left_out_asks_for_nothing():
    params = (await chat(max_tokens=5, seed=1)).sequences[0].params
    assert params == SamplingParams(max_tokens=5, seed=1)
    assert (await completion(top_k=-1)).sequences[0].params.top_k == 0


async def test_every_parameter_reaches_the_engine():
    named = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "min_p": 0.1,
        "repetition_penalty": 1.2,
        "presence_penalty": 0.3,
        "frequency_penalty": -0.4,
        "min_tokens": 2,
        "ignore_eos": True,
        "max_tokens": 5,
        "seed": 3,
    }
    request = await chat(
        **named, logit_bias={"9": 1, "2": -5.5}, stop_token_ids=[4, 4, 5], logprobs=True
    )
    assert request.sequences[0].params == SamplingParams(
        **named,
        logit_bias=((2, -5.5), (9, 1.0)),
        stop_token_ids=frozenset({4, 5}),
        logprobs=0,
    )
    assert (await chat(logprobs=True, top_logprobs=20)).sequences[0].params.logprobs == 20
    assert (await completion(logprobs=5)).sequences[0].params.logprobs == 5


async def test_an_echo_is_the_prompt_as_it_came():
    request = await completion(prompt=["a", "b<|im_end|>"], n=2, echo=True)
    assert request.echoes == ("a", "a", "b<|im_end|>", "b<|im_end|>")
    ids = list(request.sequences[-1].prompt_ids)
    assert (await completion(prompt=ids, echo=True)).echoes == ("b<|im_end|>",)
    assert (await completion()).echoes == ("",)
    assert (await chat(n=2)).echoes == ("", "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logit_bias", {str(SERVED.vocab_size): 1}),
        ("stop_token_ids", [SERVED.vocab_size]),
        ("min_tokens", 17),
    ],
)
async def test_sampling_that_does_not_fit_the_model_or_the_request(name, value):
    await refused(completion(**{name: value}), InvalidRequest, name)


async def test_another_model():
    await refused(chat(model="other"), ModelNotFound, "model")
    await refused(completion(model="other"), ModelNotFound, "model")


async def test_a_prompt_beyond_the_context():
    messages = [{"role": "user", "content": "x" * CONTEXT}]
    fault = await refused(chat(messages=messages), ContextTooLong, "messages")
    assert fault.code == "context_length_exceeded"
    await refused(completion(prompt="x" * CONTEXT), ContextTooLong, "prompt")
    await refused(completion(prompt=["a", [1] * CONTEXT][1]), ContextTooLong, "prompt")


async def test_an_answer_beyond_the_context():
    await refused(chat(max_tokens=CONTEXT), ContextTooLong, "max_tokens")
    await refused(chat(max_completion_tokens=CONTEXT), ContextTooLong, "max_completion_tokens")
    await refused(completion(max_tokens=CONTEXT - 1), ContextTooLong, "max_tokens")
    assert (await completion(max_tokens=CONTEXT - 2)).sequences[0].params.max_tokens == CONTEXT - 2


async def test_a_token_id_outside_the_vocabulary():
    await refused(completion(prompt=[1, SERVED.vocab_size]), InvalidRequest, "prompt")


async def test_more_choices_than_can_ever_run():
    await refused(chat(n=5), InvalidRequest, "n")
    await refused(completion(prompt=["a"] * 3, n=3), InvalidRequest, "prompt")
