"""The mock engine's answers: a token is a function of prompt, seed, choice and position.

So the answer of a request is the same on every worker, however often it was begun anew, and two
transcripts can be compared byte for byte. Some words are not ASCII, since broken UTF-8 must show.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

_HEADS = (
    *("ba", "be", "bi", "do", "du", "fa", "fe", "ga", "gi", "ka", "ko", "la", "le", "li", "ma"),
    *("mi", "mo", "na", "ne", "no", "pa", "pe", "po", "ra", "re", "ri", "sa", "so", "tâ", "ße"),
    *("语", "🙂"),
)
_TAILS = (
    *("", "n", "r", "s", "l", "m", "t", "na", "ra", "sa", "la", "ma", "ta", "ne", "re", "se"),
    *(
        "le",
        "me",
        "te",
        "no",
        "ro",
        "so",
        "lo",
        "mo",
        "to",
        "ni",
        "ri",
        "si",
        "li",
        "mi",
        "ti",
        "é",
    ),
)
WORDS = tuple(f" {head}{tail}" for head in _HEADS for tail in _TAILS)

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15


def key_of(body: dict[str, Any], seed: int) -> int:
    """Return the number that stands for the prompt and the seed."""
    prompt = orjson.dumps(body.get("messages") or body.get("prompt"))
    digest = hashlib.blake2b(prompt, digest_size=8, salt=(seed & _MASK).to_bytes(8, "big")).digest()
    return int.from_bytes(digest, "big")


def token(key: int, choice: int, position: int) -> int:
    """Return the token id there (splitmix64)."""
    mixed = (key + choice * 0xD1342543DE82EF95 + (position + 1) * _GOLDEN) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return (mixed ^ (mixed >> 31)) % len(WORDS)
