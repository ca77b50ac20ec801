"""How many tokens texts and requests may come to, without any tokenizer.

Four letters of ASCII are about a token, a Chinese, Japanese or Korean character is about one, and
two letters of other scripts. Pure.
"""

from __future__ import annotations

import re
from math import ceil
from typing import Any, cast

import orjson

_ASCII_LETTERS, _OTHER_LETTERS = 4, 2
_CJK = re.compile(
    "[\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)
_MESSAGE_TOKENS, _PROMPT_TOKENS = 4, 3
"""What templates add to a message and to the whole."""

_COUNTED_OF_FORM = 0.5
"""Of a schema: some servers count it as a part of the prompt, others do not."""

UNBOUNDED = 512
"""Tokens that an answer may take where the request does not bound it."""


def tokens_of(text: str) -> int:
    """Return about how many tokens a text has."""
    if text.isascii():
        return ceil(len(text) / _ASCII_LETTERS)
    ascii_letters = len(text.encode("ascii", "ignore"))
    dense = len(_CJK.findall(text))
    other = len(text) - ascii_letters - dense
    return ceil(ascii_letters / _ASCII_LETTERS + dense + other / _OTHER_LETTERS)


def prompt_tokens(body: dict[str, Any]) -> int:
    """Return about how many tokens the prompt of a chat request has."""
    messages = cast("list[dict[str, Any]]", body.get("messages") or [])
    total = _PROMPT_TOKENS
    for message in messages:
        content = message.get("content")
        text = content if isinstance(content, str) else orjson.dumps(content).decode()
        total += _MESSAGE_TOKENS + tokens_of(text)
    form = body.get("response_format")
    return total + (ceil(tokens_of(orjson.dumps(form).decode()) * _COUNTED_OF_FORM) if form else 0)


def longest_answer(body: dict[str, Any]) -> int | None:
    """Return how many tokens the answer may take; None if the request does not say."""
    told = body.get("max_completion_tokens", body.get("max_tokens"))
    return told if isinstance(told, int) else None
