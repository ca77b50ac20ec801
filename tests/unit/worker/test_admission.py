from __future__ import annotations

from typing import Any

import pytest

from services.worker.admission import AdmittedRequest, admit_chat, admit_completion
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
