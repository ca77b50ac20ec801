"""How models count and how long they answer, learnt from the calls that were made.

Owns moving averages, bounded in number: the least recently used model is forgotten. Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from math import ceil

_MOST_MODELS = 256
_WEIGHT = 0.05
_LEAST_FACTOR, _MOST_FACTOR = 0.25, 8.0
_UNSEEN_SHARE = 0.5
"""Of what an answer may take, where none was seen."""

_UNSEEN_MOST = 256


@dataclass(slots=True)
class _Habit:
    factor: float
    """Tokens of prompts as the server counts them, by what was guessed."""
    length: float


class Habits:
    """What is known of each model."""

    def __init__(self) -> None:
        """Start with none."""
        self._known: OrderedDict[str, _Habit] = OrderedDict()

    def learn(self, model: str, guessed: int, prompt: int, completion: int) -> None:
        """Take one call's tokens: its prompt's as guessed and as told, its answer's as told."""
        factor = min(_MOST_FACTOR, max(_LEAST_FACTOR, prompt / max(guessed, 1)))
        habit = self._known.get(model)
        if habit is None:
            self._known[model] = _Habit(factor, float(completion))
            if len(self._known) > _MOST_MODELS:
                self._known.popitem(last=False)
            return
        habit.factor += _WEIGHT * (factor - habit.factor)
        habit.length += _WEIGHT * (completion - habit.length)
        self._known.move_to_end(model)

    def prompt(self, model: str, guessed: int) -> int:
        """Return how many tokens a prompt has that is guessed at so many."""
        habit = self._known.get(model)
        return guessed if habit is None else ceil(guessed * habit.factor)

    def length(self, model: str, longest: int) -> int:
        """Return how many tokens an answer will probably have that may have `longest`."""
        habit = self._known.get(model)
        if habit is None:
            return min(_UNSEEN_MOST, ceil(longest * _UNSEEN_SHARE))
        return min(longest, round(habit.length))
