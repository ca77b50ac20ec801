"""Tokens of a call: guessed before it, told after it.

Owns the reading of `usage`, which a server need not tell, and the guess. Knows no prices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

# What an answer may take when the caller bounds it not.
_UNBOUNDED_ANSWER = 512
_BYTES_A_TOKEN = 4
_MOST = 10**9


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a prompt and of its answer."""

    prompt: int
    completion: int

    @property
    def total(self) -> int:
        """Return both together."""
        return self.prompt + self.completion


def guess(body: dict[str, Any], size: int) -> Usage:
    """Return what a request of `size` bytes may come to: a bound for most, exact for none."""
    limits = [_count(body.get(name)) for name in ("max_completion_tokens", "max_tokens")]
    longest = max((each for each in limits if each is not None), default=_UNBOUNDED_ANSWER)
    choices = _count(body.get("n")) or 1
    return Usage(size // _BYTES_A_TOKEN + 1, min(_MOST, longest * choices))


def told(answer: object) -> Usage | None:
    """Return the `usage` of an answer or of a stream's chunk; None if there is none to believe."""
    if not isinstance(answer, dict):
        return None
    usage = cast("dict[str, object]", answer).get("usage")
    if not isinstance(usage, dict):
        return None
    fields = cast("dict[str, object]", usage)
    prompt = _count(fields.get("prompt_tokens"))
    completion = _count(fields.get("completion_tokens"))
    if prompt is None:
        return None
    # An answer of no token, such as that of max_tokens=0 with echo, may come without the field.
    return Usage(prompt, completion or 0)


def _count(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= _MOST else None
