"""Whether a valid request fits this model, and the sequences it becomes.

Owns the checks against the model's limits and the defaults that depend on them. Knows no
JSON: `shared.protocol.openai` has checked types and ranges before.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from services.worker.answer_format import AnswerFormat, ChatFormat, CompletionFormat
from services.worker.choice import Choice
from services.worker.engine.sequence import SamplingParams, Sequence
from services.worker.served_model import ServedModel
from shared.errors import ContextTooLong, InvalidRequest, ModelNotFound
from shared.protocol.openai import ChatCompletionRequest, CompletionRequest
from shared.protocol.priority import Priority

Request = ChatCompletionRequest | CompletionRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What makes an answer this one and no other: its id, time of birth and seed."""

    id: str
    created: int
    seed: int


@dataclass(frozen=True, slots=True)
class Begun:
    """What another worker has sent of an answer: choices, their tokens, its last frame's number.

    A choice that is over needs nothing of the engine any more.
    """

    choices: tuple[Choice, ...]
    token_ids: tuple[tuple[int, ...], ...]
    last_sequence_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmittedRequest:
    """What is to be generated; `sequences` are in the order of their choices.

    `echoes` are the texts that the choices begin with, one for each sequence. `begun`: the answer
    is another worker's, to be continued; None: it begins here.
    """

    id: str
    created: int
    seed: int
    prompt_tokens: int
    sequences: tuple[Sequence, ...]
    echoes: tuple[str, ...]
    stop_strings: tuple[str, ...]
    stream: bool
    form: AnswerFormat
    begun: Begun | None = None


async def admit_chat(
    request: ChatCompletionRequest,
    served: ServedModel,
    priority: Priority = Priority.INTERACTIVE,
    identity: Identity | None = None,
) -> AdmittedRequest:
    """Render, encode and check a chat request; without an identity it gets a new one.

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
    prompts = [(prompt, "")]
    return _admit(
        request, served, prompts, stop_strings, ChatFormat, priority=priority, identity=identity
    )


async def admit_completion(
    request: CompletionRequest,
    served: ServedModel,
    priority: Priority = Priority.INTERACTIVE,
    identity: Identity | None = None,
) -> AdmittedRequest:
    """Encode and check a completion request; raises as `admit_chat`."""
    _check_model_and_n(request, served)
    places = served.max_num_seqs + served.max_waiting
    if len(request.prompts) * request.choices > places:
        msg = f"{len(request.prompts)} prompts of {request.choices} choices exceed {places} places."
        raise InvalidRequest(msg, param="prompt")
    prompts: list[tuple[tuple[int, ...], str]] = []
    for prompt in request.prompts:
        ids = (
            await served.prompts.encode_text(prompt)
            if isinstance(prompt, str)
            else _checked_ids(prompt, served)
        )
        _check_length(ids, served, "prompt")
        prompts.append((ids, _text(prompt, served) if request.echo else ""))
    stop_strings, form = request.stop_strings, CompletionFormat
    return _admit(
        request, served, prompts, stop_strings, form, priority=priority, identity=identity
    )


def _admit(
    request: Request,
    served: ServedModel,
    prompts: list[tuple[tuple[int, ...], str]],
    stop_strings: tuple[str, ...],
    form: type[AnswerFormat],
    *,
    priority: Priority,
    identity: Identity | None,
) -> AdmittedRequest:
    # An answer that is resumed may still run here: its id is the client's, this one the engine's.
    engine_id = form.id_prefix + uuid.uuid4().hex
    own = identity or _new_identity(request, engine_id)
    sequences: list[Sequence] = []
    for prompt, _ in prompts:
        max_tokens = _answer_tokens(request, served, len(prompt))
        params = _sampling(request, served, own.seed, max_tokens)
        # Each choice has its own id in the engine, so that it can be ended alone.
        sequences += [
            Sequence(f"{engine_id}/{choice}", choice, prompt, params, priority)
            for choice in range(len(sequences), len(sequences) + request.choices)
        ]
    return AdmittedRequest(
        id=own.id,
        created=own.created,
        seed=own.seed,
        prompt_tokens=sum(len(prompt) for prompt, _ in prompts),
        sequences=tuple(sequences),
        echoes=tuple(echo for _, echo in prompts for _ in range(request.choices)),
        stop_strings=stop_strings,
        stream=bool(request.stream),
        form=form(
            answer_id=own.id,
            created=own.created,
            model=served.name,
            fingerprint=served.fingerprint,
            include_usage=request.include_usage,
        ),
    )


def _new_identity(request: Request, answer_id: str) -> Identity:
    return Identity(
        id=answer_id,
        created=int(datetime.now(UTC).timestamp()),
        seed=secrets.randbits(63) if request.seed is None else request.seed,
    )


def _sampling(request: Request, served: ServedModel, seed: int, max_tokens: int) -> SamplingParams:
    """Return the parameters; what the request leaves out asks for nothing."""
    bias = {int(token_id): value for token_id, value in (request.logit_bias or {}).items()}
    check_ids(bias, served, "logit_bias")
    stops = frozenset(request.stop_token_ids or ())
    check_ids(stops, served, "stop_token_ids")
    min_tokens = request.min_tokens or 0
    if min_tokens > max_tokens:
        msg = f"'min_tokens' is {min_tokens}; the answer may have {max_tokens} tokens at most."
        raise InvalidRequest(msg, param="min_tokens")
    repetition = request.repetition_penalty
    return SamplingParams(
        max_tokens=max_tokens,
        seed=seed,
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        top_k=max(0, request.top_k or 0),
        min_p=request.min_p or 0.0,
        repetition_penalty=1.0 if repetition is None else repetition,
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        logit_bias=tuple(sorted(bias.items())),
        logprobs=_logprobs(request),
        min_tokens=min_tokens,
        ignore_eos=bool(request.ignore_eos),
        stop_token_ids=stops,
    )


def _logprobs(request: Request) -> int | None:
    """Return how many of the likeliest tokens are told beside each token; None: not even it."""
    if isinstance(request, CompletionRequest):
        return request.logprobs
    return (request.top_logprobs or 0) if request.logprobs else None


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


def _text(prompt: str | list[int], served: ServedModel) -> str:
    return prompt if isinstance(prompt, str) else served.prompts.decode(prompt)


def _checked_ids(ids: list[int], served: ServedModel) -> tuple[int, ...]:
    check_ids(ids, served, "prompt")
    return tuple(ids)


def check_ids(ids: Iterable[int], served: ServedModel, param: str) -> None:
    """Refuse what is no token of the model.

    Raises:
        InvalidRequest: names `param`.
    """
    for token_id in ids:
        if token_id >= served.vocab_size:
            msg = f"Token id {token_id} is outside the vocabulary of {served.vocab_size}."
            raise InvalidRequest(msg, param=param)
