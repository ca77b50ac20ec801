"""Taking over an answer: what the engine goes on from, and every cut of what a choice says."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.worker.admission import AdmittedRequest, admit_chat, admit_completion
from services.worker.choice import Choice, Delta
from services.worker.engine.engine import StepOutput
from services.worker.engine.sequence import FinishReason, Sequence, TokenLogprobs
from services.worker.resumption import admit_resumed
from services.worker.served_model import ServedModel
from shared.errors import ContinuationDiffers, FingerprintMismatch, InvalidRequest
from shared.protocol.openai import parse_chat, parse_completion
from shared.protocol.resume import parse_resume
from tests.fakes.scripted_model import FINGERPRINT, MODEL, scripted_model
from tests.fakes.tiny_tokenizer import END, TinyTokenizer

CONTEXT = 100
SERVED, _ = scripted_model(max_num_seqs=4, max_waiting=4, max_model_len=CONTEXT)
BYTES = TinyTokenizer().backend_tokenizer
EOS = BYTES.token_to_id(END)
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
COMPLETION = {"model": MODEL, "prompt": "Hi"}


def ids_of(text: str) -> list[int]:
    return BYTES.encode(text, add_special_tokens=False).ids


def prompt_tokens(body: dict[str, Any]) -> int:
    if "messages" in body:
        return asyncio.run(admit_chat(parse_chat(body), SERVED)).prompt_tokens
    return asyncio.run(admit_completion(parse_completion(body), SERVED)).prompt_tokens


def resumed(
    body: dict[str, Any],
    token_ids: list[list[int]],
    *,
    deterministic: bool = True,
    prompt: int | None = None,
    served: ServedModel = SERVED,
    **start: Any,
) -> AdmittedRequest:
    """Resume an answer whose every token came in a frame of its own."""
    told = {
        "path": "/v1/chat/completions" if "messages" in body else "/v1/completions",
        "body": body,
        "start": {
            "id": "theirs-1",
            "created": 5,
            "model": MODEL,
            "seed": 9,
            "prompt_tokens": prompt_tokens(body) if prompt is None else prompt,
            "fingerprint": FINGERPRINT,
            **start,
        },
        "token_ids": token_ids,
        "last_sequence_number": sum(map(len, token_ids)),
        "deterministic": deterministic,
    }
    return asyncio.run(admit_resumed(parse_resume(told), served))


def refused(param: str, *args: Any, kind: type[Exception] = InvalidRequest, **named: Any) -> None:
    with pytest.raises(kind) as caught:
        resumed(*args, **named)
    assert caught.value.param == param


def outputs_of(sequence: Sequence, ids: list[int], begin: int = 0) -> list[StepOutput]:
    """Return the engine's outputs from that token on; each logprob is its place's."""
    engine = Sequence("r", 0, sequence.prompt_ids, sequence.params)
    found: list[StepOutput] = []
    for place, token_id in enumerate(ids):
        engine.output_ids.append(token_id)
        reason = engine.ending(SERVED.eos_token_ids, SERVED.max_model_len)
        told = TokenLogprobs(-1.0 - place, ((token_id, -1.0 - place),))
        found.append(StepOutput("r", 0, token_id, reason, told))
        if reason is not None:
            break
    return found[begin:]


def play(choice: Choice, outputs: list[StepOutput], size: int = 1) -> list[Delta]:
    """Feed outputs, `size` at once, and return the deltas that a reader gets."""
    deltas: list[Delta] = []
    for at in range(0, len(outputs), size):
        if choice.over:
            break
        deltas.append(choice.take(outputs[at : at + size]))
    return [delta for delta in deltas if delta.token_ids]


def test_the_answer_keeps_its_identity_and_the_engine_goes_on_after_its_tokens():
    ids = [ids_of("ab"), [], ids_of("c")]
    request = resumed({**CHAT, "n": 3, "stream": True}, ids)
    assert (request.id, request.created, request.seed) == ("theirs-1", 5, 9)
    assert [s.output_ids for s in request.sequences] == ids
    assert {s.params.seed for s in request.sequences} == {9}
    assert request.begun is not None
    assert request.begun.last_sequence_number == 3
    assert [choice.token_count for choice in request.begun.choices] == [2, 0, 1]


def test_an_answer_may_be_resumed_where_it_still_runs():
    one, other = resumed(CHAT, [[]]), resumed(CHAT, [[]])
    assert one.id == other.id
    assert one.sequences[0].key != other.sequences[0].key


def test_what_is_over_follows_from_the_tokens():
    body = {**COMPLETION, "n": 4, "stop": "zz", "stop_token_ids": [70], "max_tokens": 3}
    ids = [ids_of("ab"), ids_of("azz"), [EOS], [1, 2, 3]]
    request = resumed(body, ids)
    assert request.begun is not None
    choices = request.begun.choices
    assert [choice.over for choice in choices] == [False, True, True, True]
    assert [c.ended().finish_reason for c in choices] == ["", "stop", "stop", "length"]
    assert choices[1].ended().text == "a"
    (choice,) = resumed({**COMPLETION, "stop_token_ids": [70]}, [[71, 70]]).begun.choices
    assert choice.ended().finish_reason == "stop"
    (choice,) = resumed({**COMPLETION, "ignore_eos": True}, [[EOS]]).begun.choices
    assert not choice.over


def test_a_full_context_ends_an_answer():
    body = {**CHAT, "messages": [{"role": "user", "content": "x" * 60}]}
    room = CONTEXT - prompt_tokens(body)
    (choice,) = resumed(body, [[40] * room]).begun.choices
    assert choice.ended().finish_reason == "length"
    refused(f"token_ids[0][{room}]", body, [[40] * (room + 1)])


def test_a_long_answer_is_replayed_aside():
    long, _ = scripted_model(max_model_len=4096)
    text = "ab " * 1000
    (choice,) = resumed(CHAT, [ids_of(text)], served=long).begun.choices
    assert (choice.ended().text, choice.over) == (text, False)


def test_what_cannot_be_true():
    refused("start.model", CHAT, [[]], model="other")
    refused("start.prompt_tokens", CHAT, [[]], prompt=3)
    refused("start.seed", {**CHAT, "seed": 8}, [[]])
    refused("token_ids", CHAT, [[], []])
    refused("token_ids", {**CHAT, "n": 2}, [[1]])
    refused("token_ids", {**COMPLETION, "prompt": ["a", "b"], "n": 2}, [[1]] * 3, prompt=2)
    refused("token_ids[1]", {**CHAT, "n": 2}, [[1], [SERVED.vocab_size]])
    refused("token_ids[0][2]", {**CHAT, "max_tokens": 2}, [[1, 2, 3]])
    refused("token_ids[0][1]", CHAT, [[EOS, 1]])
    refused("token_ids[0][2]", {**CHAT, "stop": "b"}, [ids_of("abc")])
    refused("temperature", {**CHAT, "temperature": 3}, [[]], prompt=3)


def test_only_where_it_must_be_exact_does_the_fingerprint_decide():
    changes = {"fingerprint": "fp_other"}
    refused("start.fingerprint", CHAT, [[]], kind=FingerprintMismatch, **changes)
    assert resumed(CHAT, [[]], deterministic=False, **changes).begun is not None


def test_logprobs_that_are_still_needed_come_again():
    ids = ids_of("abSTO")
    body = {**CHAT, "stop": "STOP", "logprobs": True}
    (stream,) = resumed({**body, "stream": True}, [ids]).sequences
    assert stream.output_ids == ids_of("ab")
    (whole,) = resumed(body, [ids]).sequences
    assert whole.output_ids == []
    # Nothing is needed any more of a stream's choice that is over, whatever was held back.
    (over,) = resumed({**body, "stream": True, "max_tokens": 5}, [ids]).sequences
    assert over.output_ids == ids
    (without,) = resumed({**CHAT, "stop": "STOP"}, [ids]).sequences
    assert without.output_ids == ids


def test_another_token_than_was_sent_is_a_fault():
    body = {**CHAT, "stop": "STOP", "logprobs": True, "stream": True}
    request = resumed(body, [ids_of("abST")])
    (choice,) = request.begun.choices
    with pytest.raises(ContinuationDiffers):
        choice.take(outputs_of(request.sequences[0], ids_of("abSX"), begin=2))


def test_an_engine_that_fails_while_tokens_come_again_is_no_other_token():
    request = resumed({**CHAT, "logprobs": True}, [ids_of("abc")])
    (choice,) = request.begun.choices
    told = TokenLogprobs(0.0, ())
    delta = choice.take(
        [
            StepOutput("r", 0, ids_of("a")[0], None, told),
            StepOutput("r", 0, None, FinishReason.ABORT),
        ]
    )
    assert (delta.token_ids, delta.finish_reason) == ((), None)


bodies = st.fixed_dictionaries(
    {
        "stop": st.lists(st.text("ab 😀é", min_size=1, max_size=3), max_size=3),
        "stream": st.booleans(),
        "min_tokens": st.integers(0, 4),
    },
    optional={"logprobs": st.just(1), "echo": st.just(True)},
).filter(lambda body: "echo" not in body or "logprobs" not in body)


@settings(deadline=None)
@given(st.text(st.sampled_from("ab 😀你é"), max_size=16), bodies, st.integers(1, 3))
@example("aab😀", {"stop": ["b😀"], "stream": True, "min_tokens": 0, "logprobs": 1}, 1)
@example("ab", {"stop": ["a"], "stream": False, "min_tokens": 0, "logprobs": 1}, 2)
def test_any_cut_of_a_choice_is_healed(text, changes, size):
    body = {**COMPLETION, **changes}
    begin = resumed(body, [[]])
    (whole,) = begin.begun.choices
    deltas = play(whole, outputs_of(begin.sequences[0], [*ids_of(text), EOS]))
    emitted = [token_id for delta in deltas for token_id in delta.token_ids]
    for cut in range(len(emitted) + 1):
        request = resumed(body, [emitted[:cut]])
        (choice,), (sequence,) = request.begun.choices, request.sequences
        engine = outputs_of(sequence, [*ids_of(text), EOS], begin=len(sequence.output_ids))
        found, rest = play(choice, engine, size), deltas[cut:]
        # One delta for one is the same; larger ones hold the same.
        assert found == rest or size > 1
        assert [i for d in found for i in d.token_ids] == emitted[cut:]
        assert "".join(d.text for d in found) == "".join(d.text for d in rest)
        assert told(found) == told(rest)
        ended, expected = choice.ended(), whole.ended()
        if body["stream"]:
            # A stream's logprobs are in its deltas; of those that were sent nothing is kept.
            ended, expected = replace(ended, logprobs=None), replace(expected, logprobs=None)
        assert ended == expected
        assert choice.token_count == whole.token_count == len(emitted)


def told(deltas: list[Delta]) -> list[Any]:
    return [entry for delta in deltas for entry in delta.logprobs or ()]
