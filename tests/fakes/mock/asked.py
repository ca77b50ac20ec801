"""A mock engine's requests: bodies made out, and what answers them need.

A controller's requests are checked as a worker checks them. Others' are read leniently: what a
peer adds to a body is not this engine's business.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any, cast

from services.worker.answer_format import AnswerFormat, ChatFormat, CompletionFormat
from shared.protocol.openai import parse_chat, parse_completion
from shared.protocol.prefix_chain import chain_of
from shared.protocol.resume import ResumeRequest
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
    max_tokens: int
    limited: bool
    """Whether the caller set the limit: then an answer ends by length."""
    choices: int
    prompt_tokens: int
    chain: tuple[int, ...]
    key: int
    emitted: list[list[int]] = field(default_factory=list)
    last_number: int = 0
    marker: str = ""
    """The last message or the prompt, by which a measurement knows its request."""

    @property
    def finish_reason(self) -> str:
        return "length" if self.limited else "stop"

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
    """Return the request; raises InvalidRequest if `strict`."""
    if strict:
        (parse_chat if path == CHAT else parse_completion)(body)
    chat = path == CHAT
    given = body.get("max_completion_tokens") or body.get("max_tokens")
    prompts = 1 if chat else _prompts(body.get("prompt"))
    choices = prompts * (body.get("n") or 1)
    shape = ChatFormat if chat else CompletionFormat
    options = cast("dict[str, Any]", body.get("stream_options") or {})
    answer_id = begun.start.id if begun else shape.id_prefix + uuid.uuid4().hex
    created = begun.start.created if begun else int(time.time())
    seed = begun.start.seed if begun else body.get("seed") or 0
    return EngineRequest(
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
        max_tokens=given or DEFAULT_TOKENS,
        limited=given is not None,
        choices=choices,
        prompt_tokens=_tokens(body),
        # What several prompts begin with is not one thing.
        chain=chain_of(body) if prompts == 1 else (),
        key=key_of(body, seed),
        emitted=begun.token_ids if begun else [[] for _ in range(choices)],
        last_number=begun.last_sequence_number if begun else 0,
        marker=_marker(body),
    )


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
