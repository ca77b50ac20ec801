"""Requests whose answers are hard to cut, and what the scripted model says to each."""

from __future__ import annotations

from typing import Any

from tests.fakes.scripted_model import MODEL

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HI = [{"role": "user", "content": "Hi"}]


def chat(**changes: Any) -> tuple[str, dict[str, Any]]:
    return CHAT, {"model": MODEL, "messages": HI, **changes}


def completion(**changes: Any) -> tuple[str, dict[str, Any]]:
    return COMPLETIONS, {"model": MODEL, "prompt": "Hi", "max_tokens": 30, **changes}


def streamed(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "stream": True, "stream_options": {"include_usage": True}}


STOPS = ["STOP", "OP S!", "never said"]
SCRIPTED: dict[str, tuple[str, tuple[str, dict[str, Any]]]] = {
    "plain": ("Hello there, you!", chat()),
    "characters of several tokens": ("a😀é你 the 😀!", chat()),
    "a stop string": ("Hi STO STOOP S STOP more", chat(stop=STOPS)),
    "a stop string that never ends": ("one two STO", chat(stop=STOPS)),
    "a stop string within characters": ("ab😀é你cd", chat(stop="é你")),
    "an end within a character": ("ab😀", chat(max_tokens=3)),
    "a stop token": ("one. two", chat(stop_token_ids=[13])),
    "a least length": ("ab ab ab", chat(stop="ab", min_tokens=4)),
    "no answer at all": ("", chat()),
    "several choices": ("{choice} é STOP more", chat(n=2, stop=STOPS)),
    "several prompts": ("{prompt}-{choice}", completion(prompt=["a", "bcd"], n=2)),
    "an echo": ("{prompt} ST😀", completion(prompt=["ab STOP", "c"], echo=True, stop=STOPS)),
    "logprobs": ("a😀 b STO STOP more", chat(logprobs=True, top_logprobs=2, stop=STOPS)),
    "logprobs to a length": ("ab😀 ST", completion(logprobs=1, max_tokens=9, stop=STOPS)),
    "logprobs to the end of a turn": ("ab😀 ST", completion(logprobs=0, stop=STOPS)),
}  # fmt: skip


def saying(script: str):
    """Return the script in which `{choice}` and `{prompt}` are filled in."""

    def say(prompt: str, choice: int) -> str:
        return script.replace("{choice}", "long " * choice).replace("{prompt}", prompt)

    return say
