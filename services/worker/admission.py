"""Whether a valid request fits this model, and the sequences it becomes.

Owns the checks against the model's limits and the defaults that depend on them. Knows no
JSON: `shared.protocol.openai` has checked types and ranges before.
"""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from services.worker.answer_format import AnswerFormat, ChatFormat, CompletionFormat
from services.worker.engine.sequence import SamplingParams, Sequence
from services.worker.served_model import ServedModel
from shared.errors import ContextTooLong, InvalidRequest, ModelNotFound
from shared.protocol.openai import ChatCompletionRequest, CompletionRequest

Request = ChatCompletionRequest | CompletionRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmittedRequest:
    """What is to be generated; `sequences` are in the order of their choices."""

    id: str
    created: int
    seed: int
    prompt_tokens: int
    sequences: tuple[Sequence, ...]
    stop_strings: tuple[str, ...]
    stream: bool
    form: AnswerFormat


async def admit_chat(request: ChatCompletionRequest, served: ServedModel) -> AdmittedRequest:
    """Render, encode and check a chat request.

    Raises:
        RequestError: it does not fit; the parameter is named.
    """
    _check_model_and_n(request, served)
    prompt = await served.prompts.encode_chat(
        request.messages,
        add_generation_prompt=request.add_generation_prompt is not False,
        continue_final_message=bool(request.continue_final_message),
    )
    _check_length(prompt, served, "messages")
    stop_strings = (*request.stop_strings, *served.stop_strings)
    return _admit(request, served, [prompt], stop_strings, ChatFormat)


async def admit_completion(request: CompletionRequest, served: ServedModel) -> AdmittedRequest:
    """Encode and check a completion request; raises as `admit_chat`."""
    _check_model_and_n(request, served)
    places = served.max_num_seqs + served.max_waiting
    if len(request.prompts) * request.choices > places:
        msg = f"{len(request.prompts)} prompts of {request.choices} choices exceed {places} places."
        raise InvalidRequest(msg, param="prompt")
    prompts: list[tuple[int, ...]] = []
    for prompt in request.prompts:
        ids = (
            await served.prompts.encode_text(prompt)
            if isinstance(prompt, str)
            else _checked_ids(prompt, served.vocab_size)
        )
        _check_length(ids, served, "prompt")
        prompts.append(ids)
    return _admit(request, served, prompts, request.stop_strings, CompletionFormat)


def _admit(
    request: Request,
    served: ServedModel,
    prompts: list[tuple[int, ...]],
    stop_strings: tuple[str, ...],
    form: type[AnswerFormat],
) -> AdmittedRequest:
    answer_id = form.id_prefix + uuid.uuid4().hex
    seed = secrets.randbits(63) if request.seed is None else request.seed
    created = int(datetime.now(UTC).timestamp())
    sequences: list[Sequence] = []
    for prompt in prompts:
        params = _sampling(request, seed, _answer_tokens(request, served, len(prompt)))
        # Each choice has its own id in the engine, so that it can be ended alone.
        sequences += [
            Sequence(f"{answer_id}/{choice}", choice, prompt, params)
            for choice in range(len(sequences), len(sequences) + request.choices)
        ]
    return AdmittedRequest(
        id=answer_id,
        created=created,
        seed=seed,
        prompt_tokens=sum(map(len, prompts)),
        sequences=tuple(sequences),
        stop_strings=stop_strings,
        stream=bool(request.stream),
        form=form(
            answer_id=answer_id,
            created=created,
            model=served.name,
            fingerprint=served.fingerprint,
            include_usage=request.include_usage,
        ),
    )


def _sampling(request: Request, seed: int, max_tokens: int) -> SamplingParams:
    return SamplingParams(
        max_tokens=max_tokens,
        seed=seed,
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
    )


def _check_model_and_n(request: Request, served: ServedModel) -> None:
    if request.model != served.name:
        msg = f"The model '{request.model}' does not exist; this worker serves '{served.name}'."
        raise ModelNotFound(msg, param="model")
    if request.choices > served.max_num_seqs:
        msg = f"'n' is {request.choices}; this worker runs {served.max_num_seqs} choices at once."
        raise InvalidRequest(msg, param="n")


def _check_length(prompt: tuple[int, ...], served: ServedModel, param: str) -> None:
    if len(prompt) >= served.max_model_len:
        msg = (
            f"This model's context is {served.max_model_len} tokens, answer included; "
            f"the prompt has {len(prompt)}."
        )
        raise ContextTooLong(msg, param=param)


def _answer_tokens(request: Request, served: ServedModel, prompt_tokens: int) -> int:
    """Return the most tokens an answer may have; a default is cut to what fits."""
    room = served.max_model_len - prompt_tokens
    asked = request.max_tokens
    param = "max_tokens"
    if asked is None and isinstance(request, ChatCompletionRequest):
        asked = request.max_completion_tokens
        param = "max_completion_tokens"
    if asked is None:
        return min(room, request.answer_tokens or room)
    if asked > room:
        msg = (
            f"This model's context is {served.max_model_len} tokens: with {prompt_tokens} of "
            f"the prompt, '{param}' may be {room} at most, not {asked}."
        )
        raise ContextTooLong(msg, param=param)
    return asked


def _checked_ids(ids: list[int], vocab_size: int) -> tuple[int, ...]:
    for token_id in ids:
        if token_id >= vocab_size:
            msg = f"Token id {token_id} is outside the vocabulary of {vocab_size}."
            raise InvalidRequest(msg, param="prompt")
    return tuple(ids)
