"""How fast an engine generates, measured: tokens a second while it steps, and tokens an answer.

Owns both averages. Written by the engine's thread alone; each is read as a whole.
"""

from __future__ import annotations

# What lies so far back counts half; only time in which the engine stepped passes here.
_HALF_LIFE_SECONDS = 5.0
_ANSWER_WEIGHT = 0.1


class TokenRate:
    """Averages that follow the load."""

    def __init__(self) -> None:
        """Start with nothing measured."""
        self._tokens = 0.0
        self._seconds = 0.0
        self._prefilled = 0.0
        self._prefill_seconds = 0.0
        self.tokens_per_second = 0.0
        self.prefill_tokens_per_second = 0.0
        self.tokens_per_answer = 0.0

    def count_step(self, tokens: int, seconds: float, prefilled: int = 0) -> None:
        """Take in a step: it may have prefilled only, and then its time counts all the same."""
        kept = 0.5 ** (seconds / _HALF_LIFE_SECONDS)
        if prefilled:
            self._prefilled = self._prefilled * kept + prefilled
            self._prefill_seconds = self._prefill_seconds * kept + seconds
            self.prefill_tokens_per_second = self._prefilled / max(self._prefill_seconds, 1e-6)
        self._tokens = self._tokens * kept + tokens
        self._seconds = self._seconds * kept + seconds
        self.tokens_per_second = self._tokens / max(self._seconds, 1e-6)

    def count_end(self, tokens: int) -> None:
        """Take in the length of an answer that ended by itself or at its limit."""
        weight = _ANSWER_WEIGHT if self.tokens_per_answer else 1.0
        self.tokens_per_answer += weight * (tokens - self.tokens_per_answer)

    def tokens_left(self, generated: int, remaining: int) -> float:
        """Return the most likely number of tokens that a sequence is still to generate.

        Args:
            generated: tokens that it has.
            remaining: tokens that it may still have; few use up what they may.
        """
        if not self.tokens_per_answer:
            return remaining
        return min(remaining, max(1.0, self.tokens_per_answer - generated))
