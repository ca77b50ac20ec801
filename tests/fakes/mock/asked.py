"""A mock engine's requests: bodies made out, and what answers them need.

A controller's requests are checked as a worker checks them. Others' are read leniently: what a
peer adds to a body is not this engine's business.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, cast

from services.worker.answer_format import AnswerFormat, ChatFormat, CompletionFormat
from shared.errors import InvalidRequest
from shared.protocol.openai import parse_chat, parse_completion
from shared.protocol.prefix_chain import chain_of
from shared.protocol.resume import ResumeRequest
from tests.fakes.mock.script import ChoiceScript
from tests.fakes.mock.words import key_of

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
DEFAULT_TOKENS = 64
_BYTES_A_TOKEN = 4


@dataclass(slots=True)
class EngineRequest:
    """One request of either kind, begun here or elsewhere."""

    path: str
    body: dict[str, Any]
    id: str
    created: int
    seed: int
    form: AnswerFormat
    stream: bool
    choices: int
    prompt_tokens: int
    chain: tuple[int, ...]
    scripts: list[ChoiceScript]
    emitted: list[list[int]] = field(default_factory=list)
    last_number: int = 0
    marker: str = ""
    """The last message or the prompt, by which a measurement knows its request."""

    def chain_with(self, answer: str) -> tuple[int, ...]:
        """Return the chain of the conversation with its answer; empty for a plain prompt."""
        if self.path != CHAT or self.choices > 1:
            return ()
        said = {"role": "assistant", "content": answer}
        return chain_of({"messages": [*self.body["messages"], said]})


def make_out(
    path: str,
    body: dict[str, Any],
    fingerprint: str,
    *,
    strict: bool,
    begun: ResumeRequest | None = None,
) -> EngineRequest:
    """Return the request.

    Raises:
        InvalidRequest: if `strict`, what a worker refuses; or what was begun was begun otherwise.
    """
    if strict:
        (parse_chat if path == CHAT else parse_completion)(body)
    chat = path == CHAT
    prompts = 1 if chat else _prompts(body.get("prompt"))
    choices = prompts * (body.get("n") or 1)
    shape = ChatFormat if chat else CompletionFormat
    options = cast("dict[str, Any]", body.get("stream_options") or {})
    answer_id = begun.start.id if begun else shape.id_prefix + uuid.uuid4().hex
    created = begun.start.created if begun else int(time.time())
    seed = seed_of(body, answer_id)
    made_out = EngineRequest(
        path=path,
        body=body,
        id=answer_id,
        created=created,
        seed=seed,
        form=shape(
            answer_id=answer_id,
            created=created,
            model=str(body.get("model")),
            fingerprint=fingerprint,
            include_usage=bool(options.get("include_usage")),
        ),
        stream=bool(body.get("stream")),
        choices=choices,
        prompt_tokens=_tokens(body),
        # What several prompts begin with is not one thing.
        chain=chain_of(body) if prompts == 1 else (),
        scripts=scripts_of(path, body, seed, choices),
        emitted=begun.token_ids if begun else [[] for _ in range(choices)],
        last_number=begun.last_sequence_number if begun else 0,
        marker=_marker(body),
    )
    if begun:
        _check(begun, made_out)
    return made_out


def scripts_of(path: str, body: dict[str, Any], seed: int, choices: int) -> list[ChoiceScript]:
    """Return what each choice is going to say."""
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    stop = body.get("stop") or ()
    key = key_of(body, seed)
    asked = body.get("logprobs")
    top = None if asked is None or asked is False else int(asked)
    if path == CHAT and top is not None:
        top = int(body.get("top_logprobs") or 0)
    return [
        ChoiceScript(
            key,
            choice,
            limit or DEFAULT_TOKENS,
            "length" if limit else "stop",
            stops=(stop,) if isinstance(stop, str) else tuple(stop),
            top=top,
        )
        for choice in range(choices)
    ]


def seed_of(body: dict[str, Any], answer_id: str) -> int:
    """Return the seed: the caller's, or one that the answer's id tells, if it is for sampling."""
    if body.get("seed") is not None:
        return int(body["seed"])
    if not body.get("temperature"):
        return 0
    return int.from_bytes(hashlib.blake2b(answer_id.encode(), digest_size=7).digest(), "big")


def _check(begun: ResumeRequest, made_out: EngineRequest) -> None:
    """Refuse what this engine has not said, so that a wrong account is a loud fault."""
    start, scripts = begun.start, made_out.scripts
    if (start.seed, start.prompt_tokens) != (made_out.seed, made_out.prompt_tokens):
        raise InvalidRequest("No such answer was begun.", param="start")
    if len(begun.token_ids) != len(scripts):
        raise InvalidRequest("There are not so many choices.", param="token_ids")
    for ids, script in zip(begun.token_ids, scripts, strict=True):
        if len(ids) > script.length or ids != script.tokens(len(ids)):
            raise InvalidRequest("These are not the tokens that were said.", param="token_ids")
    if begun.last_sequence_number != sum(map(len, begun.token_ids)):
        raise InvalidRequest("A frame has one token.", param="last_sequence_number")


def _marker(body: dict[str, Any]) -> str:
    messages = cast("list[dict[str, Any]] | None", body.get("messages"))
    text = messages[-1].get("content") if messages else body.get("prompt")
    return text if isinstance(text, str) else ""


def _prompts(prompt: object) -> int:
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        return len(cast("list[object]", prompt))
    return 1


def _tokens(body: dict[str, Any]) -> int:
    messages = cast("list[dict[str, Any]] | None", body.get("messages"))
    if messages is not None:
        size = sum(len(str(message.get("content")).encode()) for message in messages)
    else:
        size = len(str(body.get("prompt")).encode())
    return max(1, -(-size // _BYTES_A_TOKEN))
