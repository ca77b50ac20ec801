"""Reviews as columns of numbers: who stood in which, how each did, and each two beside each other.

Owns the order of questions and candidates. Knows no figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.evaluator.analysis.arrays import Bools, Floats, Ints
from services.evaluator.analysis.rows import Review
from services.evaluator.analysis.solo import joined


@dataclass(frozen=True, slots=True)
class Places:
    """One row for each candidate in each review."""

    review: Ints
    candidate: Ints
    rank: Floats
    """NaN where it stood alone or nothing was decoded."""
    score: Floats
    decoded: Bools


@dataclass(frozen=True, slots=True)
class Pairs:
    """One row for each two candidates of a decoded review, in the order of its line-up."""

    review: Ints
    first: Ints
    second: Ints
    won: Floats
    """What the first got of it: 1, 1/2 or 0."""
    size: Ints
    """How many stood in the review; of verdicts on single answers, how many do where all are there."""


class Table:
    """All reviews of a run; verdicts on single answers are joined."""

    def __init__(self, reviews: Sequence[Review], candidates: Sequence[str]) -> None:
        """Count them; candidates that were not named come last."""
        seen, set_beside = joined(reviews)
        self.reviews = seen + set_beside
        self.seen: Bools = np.arange(len(self.reviews)) < len(seen)
        """Those whose line-up a judge saw as it stands."""
        self._widest = max((len(review.lineup) for review in set_beside), default=0)
        joins = np.array([len(review.lineup) for review in self.reviews], dtype=np.int64)
        self.joins: Ints = np.where(self.seen, 1, joins)
        """How many reviews each stands for."""
        named = list(dict.fromkeys(candidates))
        others = {name for review in reviews for name in review.lineup} - set(named)
        self.candidates: list[str] = [*named, *sorted(others)]
        self.questions = list(dict.fromkeys(review.question for review in reviews))
        numbers = {name: number for number, name in enumerate(self.questions)}
        self.question: Ints = np.array(
            [numbers[review.question] for review in self.reviews], dtype=np.int64
        )
        self.look: Ints = _looks(self.reviews)
        """A number of each review's question, dimension, judge and repeat."""
        self._numbers = {name: number for number, name in enumerate(self.candidates)}
        groups = self._by_size()
        self.places = _stacked_places([self._places(size, rows) for size, rows in groups])
        self.pairs = _stacked_pairs([self._pairs(size, rows) for size, rows in groups])

    def names(self, candidates: Ints) -> list[str]:
        """Return the names of candidates by number."""
        return [self.candidates[int(number)] for number in candidates]

    def _by_size(self) -> list[tuple[int, list[int]]]:
        groups: dict[int, list[int]] = {}
        for row, review in enumerate(self.reviews):
            groups.setdefault(len(review.lineup), []).append(row)
        return sorted(groups.items())

    def _lineups(self, rows: list[int]) -> Ints:
        return np.array(
            [[self._numbers[name] for name in self.reviews[row].lineup] for row in rows],
            dtype=np.int64,
        )

    def _places(self, size: int, rows: list[int]) -> Places:
        nothing = (float("nan"),) * size
        reviews = [self.reviews[row] for row in rows]
        rank = np.array(
            [review.ranks if review.ranks and size > 1 else nothing for review in reviews],
            dtype=np.float64,
        )
        score = np.array([review.scores or nothing for review in reviews], dtype=np.float64)
        decoded = np.array([review.decoded for review in reviews], dtype=np.bool_)
        return Places(
            review=np.repeat(np.array(rows, dtype=np.int64), size),
            candidate=self._lineups(rows).ravel(),
            rank=rank.ravel(),
            score=score.ravel(),
            decoded=np.repeat(decoded, size),
        )

    def _pairs(self, size: int, rows: list[int]) -> Pairs:
        rows = [row for row in rows if self.reviews[row].ranks is not None]
        before, after = np.triu_indices(size, 1)
        ranks = np.array([self.reviews[row].ranks for row in rows], dtype=np.int64)
        ranks = ranks.reshape(len(rows), size)
        lineups = self._lineups(rows).reshape(len(rows), size)
        ahead = np.sign(ranks[:, after] - ranks[:, before])
        review = np.repeat(np.array(rows, dtype=np.int64), len(before))
        return Pairs(
            review=review,
            first=lineups[:, before].ravel(),
            second=lineups[:, after].ravel(),
            won=((ahead + 1) / 2).ravel(),
            size=np.where(self.seen[review], size, self._widest),
        )


def _looks(reviews: Sequence[Review]) -> Ints:
    numbers: dict[tuple[str, str, str, int], int] = {}
    looks = ((each.question, each.dimension, each.judge, each.repeat) for each in reviews)
    return np.array([numbers.setdefault(look, len(numbers)) for look in looks], dtype=np.int64)


def _stacked_places(parts: list[Places]) -> Places:
    if not parts:
        numbers, values = np.zeros(0, dtype=np.int64), np.zeros(0)
        return Places(numbers, numbers, values, values, np.zeros(0, dtype=np.bool_))
    return Places(
        review=np.concatenate([part.review for part in parts]),
        candidate=np.concatenate([part.candidate for part in parts]),
        rank=np.concatenate([part.rank for part in parts]),
        score=np.concatenate([part.score for part in parts]),
        decoded=np.concatenate([part.decoded for part in parts]),
    )


def _stacked_pairs(parts: list[Pairs]) -> Pairs:
    if not parts:
        numbers = np.zeros(0, dtype=np.int64)
        return Pairs(numbers, numbers, numbers, np.zeros(0), numbers)
    return Pairs(
        review=np.concatenate([part.review for part in parts]),
        first=np.concatenate([part.first for part in parts]),
        second=np.concatenate([part.second for part in parts]),
        won=np.concatenate([part.won for part in parts]),
        size=np.concatenate([part.size for part in parts]),
    )
