"""Logprobs in OpenAI's two forms: a list of tokens for chats, parallel lists for completions.

Owns their JSON. Knows no text but the tokens' own.
"""

from __future__ import annotations

from typing import Any

from services.worker.logprobs import LogprobEntry, Logprobs, RatedToken


def chat_logprobs(entries: Logprobs) -> dict[str, Any] | None:
    """Return a chat choice's `logprobs`; None: they were not asked for."""
    if entries is None:
        return None
    content = [
        {**_rated(entry.token), "top_logprobs": [_rated(token) for token in entry.top]}
        for entry in entries
    ]
    return {"content": content, "refusal": None}


def completion_logprobs(entries: Logprobs) -> dict[str, Any] | None:
    """Return a completion choice's `logprobs`; None: they were not asked for.

    As in OpenAI's API the token itself is among the likeliest, whether it is one of them or not.
    """
    if entries is None:
        return None
    return {
        "tokens": [entry.token.text for entry in entries],
        "token_logprobs": [entry.token.logprob for entry in entries],
        "top_logprobs": [_by_text(entry) for entry in entries],
        "text_offset": [entry.offset for entry in entries],
    }


def _by_text(entry: LogprobEntry) -> dict[str, float]:
    """Return the likeliest tokens first; of those that look alike the likeliest one."""
    by_text: dict[str, float] = {}
    for token in (*entry.top, entry.token):
        by_text.setdefault(token.text, token.logprob)
    return by_text


def _rated(token: RatedToken) -> dict[str, Any]:
    return {
        "token": token.text,
        "logprob": token.logprob,
        "bytes": None if token.bytes is None else list(token.bytes),
    }
