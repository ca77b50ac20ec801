"""What of a request matters to where it goes: how much work it is, and what it begins with.

Owns the estimates, in tokens, made from a body that was parsed once. They need not be right, only
alike for all workers; the worker counts for itself. Refuses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shared.protocol.prefix_chain import BLOCK_BYTES

BYTES_PER_TOKEN = 4
DEFAULT_ANSWER_TOKENS = 256
MOST_ANSWER_TOKENS = 4096
"""Few answers are as long as they may be; a huge limit says nothing about the work."""

MOST_SEQUENCES = 1024

BLOCK_TOKENS = BLOCK_BYTES // BYTES_PER_TOKEN


@dataclass(slots=True)
class Ask:
    """One request's size and beginning.

    Attributes:
        prompt_tokens: about so many tokens are to be prefilled.
        answer_tokens: about so many are to be generated, all choices together.
        sequences: choices, each of which takes a place on the worker.
        chain: `prefix_chain.chain_of` the request; empty where nobody asks for it.
        last_worker: id of the worker that the session's last request went to; empty: unknown.
    """

    prompt_tokens: int = 0
    answer_tokens: int = DEFAULT_ANSWER_TOKENS
    sequences: int = 1
    chain: tuple[int, ...] = ()
    last_worker: str = ""

    @property
    def tokens(self) -> int:
        """Tokens of prompt and answers, as a limit counts them."""
        return self.prompt_tokens + self.answer_tokens


def ask_of(request: dict[str, Any], size: int, chain: tuple[int, ...] = ()) -> Ask:
    """Return what a body of `size` bytes asks for."""
    choices = min(MOST_SEQUENCES, _count(request.get("n")) or 1)
    answer = _count(request.get("max_completion_tokens")) or _count(request.get("max_tokens"))
    answer = min(answer or DEFAULT_ANSWER_TOKENS, MOST_ANSWER_TOKENS)
    return Ask(size // BYTES_PER_TOKEN, answer * choices, choices, chain)


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
