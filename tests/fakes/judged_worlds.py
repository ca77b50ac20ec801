"""Runs whose truth is known: candidates of given strength, judged by chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from services.evaluator.analysis.options import AnalysisOptions
from services.evaluator.analysis.ranking import UNIT, fit
from services.evaluator.analysis.results import results_of
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


def coverage(rng, runs, resamples):
    """Count how often intervals of 70 questions hold the figure of 100,000."""
    world = World()
    names = world.names
    truth = world.ranks(rng, 100_000)
    first, second = np.triu_indices(len(names), 1)
    beats = {
        (a, b): float((truth[..., names.index(a)] < truth[..., names.index(b)]).mean())
        for a in names
        for b in names
        if a != b
    }
    won = np.array([beats[names[a], names[b]] for a, b in zip(first, second, strict=True)])
    ratings = dict(zip(names, 1000 + UNIT * fit(won, np.ones(3), first, second), strict=True))
    ranks = dict(zip(names, truth.mean(axis=(0, 1)), strict=True))
    rates = {a: np.mean([beats[a, b] for b in names if b != a]) for a in names}
    found = {"rank": [0, 0], "win rate": [0, 0], "rating": [0, 0], "difference": [0, 0]}

    def note(kind, figure, true):
        found[kind][0] += figure.interval.low <= true <= figure.interval.high
        found[kind][1] += 1

    for seed in range(runs):
        told = options(names, seed=seed, resamples=resamples)
        scope = results_of(world.run(rng, 70), [], told).scopes[0]
        for each in scope.candidates:
            note("rank", each.mean_rank, ranks[each.candidate])
            note("win rate", each.win_rate, rates[each.candidate])
            note("rating", each.rating, ratings[each.candidate])
        for pair in scope.pairs:
            one, other = pair.first, pair.second
            note("difference", pair.difference, beats[one, other] - beats[other, one])
    return found
