"""Drafts by who knows what comes: right or wrong as the test wants it."""

from __future__ import annotations

from collections.abc import Callable

from services.worker.engine.drafts import PromptLookup
from services.worker.engine.sequence import Sequence

Foresee = Callable[[Sequence, int], list[int]]
"""From a sequence and a number to so many tokens, or fewer, that follow."""


class ForeseenDrafts(PromptLookup):
    """Drafts what a function foresees, with every `wrong`-th of its tokens spoilt."""

    def __init__(self, most: int, foresee: Foresee, wrong: int = 0) -> None:
        super().__init__(most)
        self._foresee, self._wrong = foresee, wrong

    def draft(self, sequence: Sequence, room: int) -> tuple[int, ...]:
        count = min(self._most, room)
        tokens = self._foresee(sequence, count)[:count] if count > 0 else []
        return tuple(self._spoilt(sequence.length + at, each) for at, each in enumerate(tokens))

    def _spoilt(self, position: int, token_id: int) -> int:
        if not self._wrong or position % self._wrong:
            return token_id
        return token_id - 1 if token_id else 1
