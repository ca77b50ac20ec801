"""Runs whose truth is known: candidates of given strength, judged by chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from services.evaluator.analysis.options import AnalysisOptions
from services.evaluator.analysis.rows import Review


def review(question, lineup, ranks=None, **others):
    """Return one verdict, of which most is left out."""
    fields = {
        "category": None,
        "language": None,
        "dimension": "general",
        "judge": "judge",
        "repeat": 0,
    } | others
    return Review(question=str(question), lineup=tuple(lineup), ranks=ranks, **fields)


def options(candidates: Sequence[str], **others) -> AnalysisOptions:
    """Return what an analysis is told, of which most is left out."""
    fields = {
        "run_id": "run_1",
        "eval_id": "eval_1",
        "digest": "0" * 64,
        "mode": "ordering",
        "complete": True,
        "resamples": 400,
    } | others
    return AnalysisOptions(candidates=tuple(candidates), **fields)


@dataclass(frozen=True)
class World:
    """Three candidates; on each question each is better or worse than usual, for all its reviews."""

    strengths: tuple[float, ...] = (0.6, 0.0, -0.4)
    spread: float = 1.0
    """Of what a question adds to a candidate's strength."""
    reviews: int = 3
    """Of each question."""
    names: tuple[str, ...] = ("a", "b", "c")

    def ranks(self, rng: np.random.Generator, questions: int):
        """Return ranks (questions, reviews, candidates) of a random run."""
        size = (questions, 1, len(self.strengths))
        usual = np.array(self.strengths) + rng.normal(0, self.spread, size)
        noise = rng.gumbel(size=(questions, self.reviews, len(self.strengths)))
        return (-(usual + noise)).argsort(-1).argsort(-1) + 1

    def run(self, rng: np.random.Generator, questions: int) -> list[Review]:
        """Return the reviews of a random run."""
        return [
            review(question, self.names, tuple(int(rank) for rank in ranks), repeat=repeat)
            for question, looks in enumerate(self.ranks(rng, questions))
            for repeat, ranks in enumerate(looks)
        ]


def swapped_pairs(
    rng: np.random.Generator, questions: int, bias: float, spread: float = 1.0
) -> Iterator[Review]:
    """Return two reviews of each question, in both orders, by a judge that likes the first place.

    `bias` is in logits; how much better the one answer is differs from question to question.
    """
    gaps = rng.normal(0.3, spread, questions)
    for question, gap in enumerate(gaps):
        for lineup, edge in ((("a", "b"), gap), (("b", "a"), -gap)):
            first = rng.random() < 1 / (1 + np.exp(-(edge + bias)))
            yield review(question, lineup, (1, 2) if first else (2, 1))
