"""Requests of all kinds that can be continued, each by its number, so that a mix is always the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.fakes.mock.asked import CHAT, COMPLETIONS


@dataclass(frozen=True, slots=True)
class Asking:
    """One request."""

    path: str
    body: dict[str, Any]

    @property
    def stream(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def usage_told(self) -> bool:
        return not self.stream or bool(self.body.get("stream_options"))


_USAGE: dict[str, Any] = {"stream_options": {"include_usage": True}}
_KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    (CHAT, {"seed": 7}),
    (CHAT, {"n": 2, **_USAGE}),
    (COMPLETIONS, {"n": 3, "logprobs": 2}),
    (CHAT, {"stop": ["ßes", "ko", "zz"], "n": 2, "seed": 3}),
    (CHAT, {"logprobs": True, "top_logprobs": 2, "stop": "🙂r"}),
    (CHAT, {"temperature": 0.8, **_USAGE}),
    (COMPLETIONS, {"prompt": ["One prompt", "and another"], "seed": -1, **_USAGE}),
    (CHAT, {"presence_penalty": 0.5, "frequency_penalty": 0.5, "temperature": 1.0, "n": 3}),
)
KINDS = len(_KINDS)


def request(number: int, *, tokens: int, stream: bool = True, model: str = "mock") -> Asking:
    """Return the request of a number; a choice has `tokens` tokens unless a stop string ends it."""
    path, changes = _KINDS[number % KINDS]
    prompt: dict[str, Any] = {"prompt": f"Question {number}."}
    if path == CHAT:
        prompt = {"messages": [{"role": "user", "content": f"Question {number}."}]}
    body = {"model": model, "max_tokens": tokens, **prompt, **changes}
    if stream:
        body["stream"] = True
    else:
        body.pop("stream_options", None)
    return Asking(path, body)


def mix(count: int, *, tokens: int, unary: int = 4) -> list[Asking]:
    """Return requests of which one in `unary` wants its answer whole; 0: all want a stream."""
    return [
        request(number, tokens=tokens, stream=not unary or (number // KINDS) % unary != 0)
        for number in range(count)
    ]
