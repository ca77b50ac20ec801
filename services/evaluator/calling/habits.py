"""How models count and how long they answer, learnt from the calls that were made.

Owns moving averages, bounded in number: the least recently used one is forgotten. Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from math import ceil

_MOST_HABITS = 256
_WEIGHT = 0.05
_LEAST_FACTOR, _MOST_FACTOR = 0.25, 8.0
_TYPICAL = 256
"""Tokens of an answer that may be so long, where none was seen."""


@dataclass(slots=True)
class _Habit:
    factor: float
    """Tokens of prompts as the server counts them, by what was guessed."""
    length: float


Manner = Hashable
"""How a model is asked; its verdicts have another length than its answers."""


class Habits:
    """What is known of each model, by the manner in which it was asked."""

    def __init__(self) -> None:
        """Start with none."""
        self._known: OrderedDict[tuple[str, Manner], _Habit] = OrderedDict()

    def learn(self, model: str, manner: Manner, guessed: int, prompt: int, completion: int) -> None:
        """Take one call's tokens: its prompt's as guessed and as told, its answer's as told."""
        factor = min(_MOST_FACTOR, max(_LEAST_FACTOR, prompt / max(guessed, 1)))
        habit = self._known.get((model, manner))
        if habit is None:
            self._known[model, manner] = _Habit(factor, float(completion))
            if len(self._known) > _MOST_HABITS:
                self._known.popitem(last=False)
            return
        habit.factor += _WEIGHT * (factor - habit.factor)
        habit.length += _WEIGHT * (completion - habit.length)
        self._known.move_to_end((model, manner))

    def prompt(self, model: str, manner: Manner, guessed: int) -> int:
        """Return how many tokens a prompt has that is guessed at so many."""
        habit = self._known.get((model, manner))
        return guessed if habit is None else ceil(guessed * habit.factor)

    def length(self, model: str, manner: Manner, longest: int) -> int:
        """Return how many tokens an answer will probably have that may have `longest`."""
        habit = self._known.get((model, manner))
        return min(longest, _TYPICAL if habit is None else round(habit.length))
