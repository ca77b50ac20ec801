"""The sums behind LLMZoo's figures: its denominators, and its order of addition.

Floats are added from left to right, starting at 0, and divided at the end: any other way to sum
changes last digits, and the files would differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.evaluator.artefacts.legacy_order import UNREAD
from services.evaluator.artefacts.rows import LegacyReview
from shared.errors import InvalidRequest

_NOT_COUNTED = frozenset({"coding", "math"})
_BEST = 10


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums over the reviews that count; lists are in the order of `models`."""

    models: tuple[str, ...]
    questions: int
    """The denominator: unread reviews stay in it, questions of coding and math do not."""
    ranks: tuple[int, ...]
    """Empty where reviews hold scores."""
    scores: tuple[float, ...]
    """Of 10 / rank where reviews hold orders."""
    better: tuple[tuple[int, int, int], ...]
    """For each model: how often the first one was better, equal, worse."""

    def mean(self, total: float) -> float:
        """Return `total` over the denominator."""
        return total / self.questions


def figures_of(reviews: Sequence[LegacyReview], *, scores: bool) -> Figures:
    """Return the sums over `reviews`, which are in the order of their questions.

    Raises:
        InvalidRequest: there is no review, or none of a category that counts.
    """
    counted = [each for each in reviews if each.category not in _NOT_COUNTED]
    if not counted:
        raise InvalidRequest("no question counts: LLMZoo leaves out the categories coding and math")
    models = reviews[0].models
    read = [each.values for each in counted if UNREAD not in each.values]
    shown = [_scores(values) for values in read] if not scores else read
    columns = range(len(models))
    return Figures(
        models=models,
        questions=len(counted),
        ranks=() if scores else tuple(int(sum(row[column] for row in read)) for column in columns),
        scores=tuple(_sum([row[column] for row in shown]) for column in columns),
        better=tuple(_compared(shown, column) for column in columns),
    )


def _scores(ranks: Sequence[float]) -> tuple[float, ...]:
    return tuple(_BEST / rank for rank in ranks)


def _sum(values: Sequence[float]) -> float:
    """Add from left to right; `sum` does not, from Python 3.12 on."""
    total: float = 0
    for value in values:
        total += value
    return total


def _compared(rows: Sequence[Sequence[float]], column: int) -> tuple[int, int, int]:
    first = sum(row[0] > row[column] for row in rows)
    equal = sum(row[0] == row[column] for row in rows)
    return first, equal, len(rows) - first - equal
