"""What a request begins with, as numbers that controller and workers compare.

Owns the chain: the texts of a chat's messages (or of a completion's prompt) are laid end to end
and cut into blocks of 256 bytes; each whole block has a number that depends on it and on all
before it, so that two requests share as many numbers as they share leading blocks. The controller
knows neither template nor tokenizer, and needs none for this. Never refuses a body: what is no
message counts as empty, and validation is the worker's.
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Iterable
from typing import Any, cast
from zlib import crc32

BLOCK_BYTES = 256
MAX_BLOCKS = 4096
"""A longer request is known by its first mebibyte."""

# What no role begins with, so that a prompt is not taken for a message.
_PROMPT = b"\1"


def chain_of(request: dict[str, Any]) -> tuple[int, ...]:
    """Return the numbers of a request's whole blocks, in order, each below 2**32.

    A checksum is enough: an equal number by chance or by intent costs a request the best place,
    and nothing else.
    """
    text = memoryview(_text(request))
    blocks = min(len(text) // BLOCK_BYTES, MAX_BLOCKS)
    chain: list[int] = []
    number = 0
    for start in range(0, blocks * BLOCK_BYTES, BLOCK_BYTES):
        number = crc32(text[start : start + BLOCK_BYTES], number)
        chain.append(number)
    return tuple(chain)


def pack(numbers: Iterable[int]) -> str:
    """Return numbers as text for a registry record: base64 of little-endian uint32."""
    packed = array("I", numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return base64.b64encode(packed.tobytes()).decode("ascii")


def unpack(text: str) -> frozenset[int]:
    """Return what `pack` was given.

    Raises:
        ValueError: the text is not of `pack`'s making.
    """
    packed = array("I")
    packed.frombytes(base64.b64decode(text, validate=True))
    if sys.byteorder == "big":
        packed.byteswap()
    return frozenset(packed)


def _text(request: dict[str, Any]) -> bytes:
    messages = request.get("messages")
    if isinstance(messages, list):
        return b"".join(_message(each) for each in cast("list[object]", messages))
    prompt = request.get("prompt")
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        prompt = cast("list[object]", prompt)[0]
    if isinstance(prompt, list):
        return _PROMPT + " ".join(map(str, cast("list[object]", prompt))).encode(errors="replace")
    return _PROMPT + _encode(prompt)


def _message(message: object) -> bytes:
    if not isinstance(message, dict):
        return b"\0\0"
    fields = cast("dict[str, object]", message)
    content = fields.get("content")
    if isinstance(content, list):
        parts = [
            cast("dict[str, object]", part).get("text")
            for part in cast("list[object]", content)
            if isinstance(part, dict)
        ]
        text = b"".join(_encode(part) for part in parts)
    else:
        text = _encode(content)
    return b"%b\0%b\0" % (_encode(fields.get("role")), text)


def _encode(text: object) -> bytes:
    return text.encode(errors="replace") if isinstance(text, str) else b""
