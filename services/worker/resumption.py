"""Taking over an answer that another worker has begun.

The request is admitted as it was there, under the answer's own id, time and seed; then its emitted
tokens are replayed, choice by choice. Owns the checks that what was told of the answer can be true,
and which tokens the engine must give again. Knows no JSON.

Logprobs do not travel with the tokens. Where emitted ones are still needed, the engine goes on from
before them: in a stream those of tokens whose text is held back, in a whole answer all.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from services.worker.admission import (
    AdmittedRequest,
    Begun,
    Identity,
    admit_chat,
    admit_completion,
    check_ids,
)
from services.worker.engine.engine import StepOutput
from services.worker.engine.sequence import Sequence, TokenLogprobs
from services.worker.resumed_choice import ResumedChoice
from services.worker.served_model import ServedModel
from shared.errors import FingerprintMismatch, InvalidRequest
from shared.protocol.openai import parse_chat, parse_completion
from shared.protocol.priority import Priority
from shared.protocol.resume import ResumeRequest

# Above this, replaying would be felt by the other requests on the event loop.
_MANY_TOKENS = 2048
# Holds the place of logprobs that are not needed again, or not known yet.
_UNKNOWN = TokenLogprobs(0.0, ())


async def admit_resumed(
    resume: ResumeRequest, served: ServedModel, priority: Priority = Priority.INTERACTIVE
) -> AdmittedRequest:
    """Admit the original request again, with what was emitted.

    Raises:
        FingerprintMismatch: the answer must be exact and was begun by another kind of worker.
        RequestError: the request does not fit, or cannot have come so far; the field is named.
    """
    start = resume.start
    if start.model != served.name:
        msg = f"'{start.model}' began this answer; this worker serves '{served.name}'."
        raise InvalidRequest(msg, param="start.model")
    if resume.deterministic and start.fingerprint != served.fingerprint:
        msg = f"'{start.fingerprint}' began this answer; this worker is '{served.fingerprint}'."
        raise FingerprintMismatch(msg, param="start.fingerprint")
    request = await _admit_again(resume, served, priority)
    _check(resume, request)
    if sum(len(ids) for ids in resume.token_ids) > _MANY_TOKENS:
        return await asyncio.to_thread(_replay, resume, request, served)
    return _replay(resume, request, served)


async def _admit_again(
    resume: ResumeRequest, served: ServedModel, priority: Priority
) -> AdmittedRequest:
    start = resume.start
    own = Identity(id=start.id, created=start.created, seed=start.seed)
    if resume.path == "/v1/chat/completions":
        chat = parse_chat(resume.body)
        seed, request = chat.seed, await admit_chat(chat, served, priority, own)
    else:
        completion = parse_completion(resume.body)
        seed, request = completion.seed, await admit_completion(completion, served, priority, own)
    if seed not in {None, start.seed}:
        msg = f"The seed of 'body' is {seed}, and that of 'start' {start.seed}."
        raise InvalidRequest(msg, param="start.seed")
    return request


def _check(resume: ResumeRequest, request: AdmittedRequest) -> None:
    if resume.start.prompt_tokens != request.prompt_tokens:
        msg = f"The prompt has {request.prompt_tokens} tokens, not {resume.start.prompt_tokens}."
        raise InvalidRequest(msg, param="start.prompt_tokens")
    if len(resume.token_ids) != len(request.sequences):
        msg = f"The answer has {len(request.sequences)} choices, not {len(resume.token_ids)}."
        raise InvalidRequest(msg, param="token_ids")


def _replay(
    resume: ResumeRequest, request: AdmittedRequest, served: ServedModel
) -> AdmittedRequest:
    choices = tuple(
        _choice(request, index, ids, served) for index, ids in enumerate(resume.token_ids)
    )
    token_ids = tuple(tuple(ids) for ids in resume.token_ids)
    return replace(request, begun=Begun(choices, token_ids, resume.last_sequence_number))


def _choice(
    request: AdmittedRequest, index: int, token_ids: list[int], served: ServedModel
) -> ResumedChoice:
    """Return a choice as far as it was, and put its sequence where the engine must go on."""
    sequence, echo = request.sequences[index], request.echoes[index]
    check_ids(token_ids, served, f"token_ids[{index}]")

    def replayed(outputs: list[StepOutput]) -> tuple[ResumedChoice, int, int]:
        """Return the choice, the tokens that it took, and those whose logprobs were told."""
        stops = request.stop_strings
        choice = ResumedChoice(index, sequence.params, served.detokenizers, stops, echo)
        # Before its first token a choice has not even sent its echo.
        delta = choice.take(outputs) if outputs else None
        return choice, choice.token_count, len((delta and delta.logprobs) or ())

    outputs = _emitted(sequence, token_ids, served)
    choice, taken, told = replayed(outputs)
    if taken < len(token_ids):
        msg = f"The choice had ended before this token: with {taken} tokens it is complete."
        raise InvalidRequest(msg, param=f"token_ids[{index}][{taken}]")
    if sequence.params.logprobs is None or (request.stream and choice.over):
        return choice
    kept = told if request.stream else 0
    if kept < taken:
        choice, _, _ = replayed(outputs[:kept])
        choice.expect_again(token_ids[kept:])
        del sequence.output_ids[kept:]
    return choice


def _emitted(sequence: Sequence, token_ids: list[int], served: ServedModel) -> list[StepOutput]:
    """Return the tokens as the engine gave them; the sequence has them then."""
    outputs: list[StepOutput] = []
    for token_id in token_ids:
        sequence.output_ids.append(token_id)
        reason = sequence.ending(served.eos_token_ids, served.max_model_len)
        outputs.append(StepOutput(*sequence.key, token_id, reason, _UNKNOWN))
    return outputs
