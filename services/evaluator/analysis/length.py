"""Whether the longer answer wins, and ratings with the advantage of length taken out.

Bradley-Terry with one more term: the difference of two answers' lengths in characters, divided by
its root mean square and passed through tanh, so that a single very long answer decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from scipy import optimize

from services.evaluator.analysis.arrays import Bools, Floats, Ints, sums_at
from services.evaluator.analysis.bootstrap import Bootstrap, covered
from services.evaluator.analysis.figures import SHARE, drawn_figure, ratio
from services.evaluator.analysis.ranking import (
    by_candidate,
    laplacian,
    rating_figures,
    steadied,
)
from services.evaluator.analysis.rows import AnswerRow
from services.evaluator.analysis.table import Table
from services.evaluator.analysis.tally import Tally, chosen_pairs
from shared.protocol.evals.results import Figure

_PRIOR = 0.01
"""Of the coefficient (a normal distribution's precision): finite where the longer always wins."""


@dataclass(frozen=True, slots=True)
class LengthControl:
    """Ratings and the coefficient of length, fitted together."""

    ratings: list[Figure]
    coefficient: Figure


def lengths_of(answers: Sequence[AnswerRow], table: Table) -> Floats:
    """Return characters of answers (questions, candidates); NaN where there is none."""
    questions = {name: number for number, name in enumerate(table.questions)}
    candidates = {name: number for number, name in enumerate(table.candidates)}
    lengths = np.full((len(questions), len(candidates)), np.nan)
    for answer in answers:
        if answer.question in questions and answer.candidate in candidates:
            place = questions[answer.question], candidates[answer.candidate]
            lengths[place] = len(answer.text)
    return lengths


def longer_share(
    table: Table, chosen: Bools, lengths: Floats, bootstrap: Bootstrap, undecoded: int
) -> Figure:
    """Return how many of the decided pairs with unequal lengths the longer answer won."""
    rows = chosen_pairs(table.pairs, chosen)
    question = table.question[table.pairs.review[rows]]
    won = table.pairs.won[rows]
    more = np.sign(
        lengths[question, table.pairs.first[rows]] - lengths[question, table.pairs.second[rows]]
    )
    counted = np.isfinite(more) & (more != 0) & (won != 0.5)  # noqa: PLR2004 - a tie
    hits = (more[counted] > 0) == (won[counted] == 1)
    present, places = np.unique(question[counted], return_inverse=True)
    sums, counts = sums_at(places, len(present), hits), sums_at(places, len(present))
    return ratio(sums, counts, bootstrap, bounds=SHARE, undecoded=undecoded)


def length_control(
    tally: Tally, lengths: Floats, bootstrap: Bootstrap, undecoded: int
) -> LengthControl | None:
    """Return ratings and coefficient; None where no two answers differ in length.

    The draws are one step of Newton's method from the fit of all, which costs no fit each.
    """
    here = lengths[np.ix_(tally.questions, tally.candidates)]
    apart = here[:, tally.first] - here[:, tally.second]
    known = np.isfinite(apart)
    won, met = np.where(known, tally.won, 0.0), np.where(known, tally.met, 0.0)
    scale = np.sqrt((met * np.nan_to_num(apart) ** 2).sum() / max(1.0, met.sum()))
    if not scale > 0:
        return None
    data = _Data(tally.first, tally.second, tally.size, won, met, np.tanh(_filled(apart) / scale))
    best = data.fit()
    drawn = best + data.steps(best, bootstrap)
    questions = int(covered(met.sum(axis=1, keepdims=True))[0])
    coefficient = drawn_figure(best[-1], drawn[:, -1], questions, round(met.sum()))
    return LengthControl(
        ratings=rating_figures(best[:-1], drawn[:, :-1], met, tally.first, tally.second),
        coefficient=coefficient.model_copy(update={"undecoded": undecoded}),
    )


def _filled(values: Floats) -> Floats:
    return np.nan_to_num(values, nan=0.0)


@dataclass(frozen=True, slots=True)
class _Data:
    """Pairs by question, with the difference of lengths; parameters: candidates, then length."""

    first: Ints
    second: Ints
    size: int
    won: Floats
    met: Floats
    longer: Floats

    def fit(self) -> Floats:
        """Return the parameters that fit all questions best."""
        tie = self._tie()

        def loss(parameters: Floats) -> tuple[float, Floats]:
            odds = self._odds(parameters)
            level = parameters[self.first] - parameters[self.second]
            value = (self.met * np.logaddexp(0, odds) - self.won * odds).sum()
            value += tie * (np.logaddexp(0, level) - 0.5 * level).sum()
            value += _PRIOR / 2 * parameters[-1] ** 2
            slopes = -self._slopes(self.won - self.met * _chance(odds)).sum(axis=0)
            extra = tie * (_chance(level) - 0.5)
            slopes[:-1] += by_candidate(extra, self.first, self.second, self.size)
            slopes[-1] += _PRIOR * parameters[-1]
            return float(value), slopes

        # scipy brings no types.
        minimize = cast("Callable[..., Any]", optimize.minimize)  # pyright: ignore[reportUnknownMemberType]
        options = {"maxiter": 2000, "ftol": 1e-14, "gtol": 1e-9}
        found = minimize(
            loss, np.zeros(self.size + 1), jac=True, method="L-BFGS-B", options=options
        )
        return np.asarray(found.x, dtype=np.float64)

    def steps(self, best: Floats, bootstrap: Bootstrap) -> Floats:
        """Return for each draw one Newton step from the fit of all: (draws, parameters)."""
        odds = self._odds(best)
        chance = _chance(odds)
        slopes = bootstrap.sums(self._slopes(self.won - self.met * chance))
        # The fit of all is where slopes, prior and the added tie cancel: only the change counts.
        slopes -= self._slopes(self.won - self.met * chance).sum(axis=0)
        weights = self.met * chance * (1 - chance)
        level = bootstrap.sums(weights) + self._tie() / 4
        cross = bootstrap.sums(
            by_candidate(weights * self.longer, self.first, self.second, self.size)
        )
        own = bootstrap.sums((weights * self.longer**2).sum(axis=1, keepdims=True))
        matrix = np.zeros((len(slopes), self.size + 1, self.size + 1))
        matrix[:, :-1, :-1] = laplacian(level, self.first, self.second, self.size)
        matrix[:, :-1, -1] = matrix[:, -1, :-1] = cross
        matrix[:, -1, -1] = own[:, 0] + _PRIOR
        return np.asarray(np.linalg.solve(matrix, slopes[..., None])[..., 0], dtype=np.float64)

    def _tie(self) -> float:
        """Return 1 if one imaginary review, in which all tie, must keep the ratings finite."""
        total_won, total_met = self.won.sum(axis=0)[None], self.met.sum(axis=0)[None]
        held = steadied(total_won, total_met, self.first, self.second, self.size)[2]
        return float(held[0])

    def _odds(self, parameters: Floats) -> Floats:
        level = parameters[self.first] - parameters[self.second]
        return level + parameters[-1] * self.longer

    def _slopes(self, residuals: Floats) -> Floats:
        """Return by question the likelihood's slopes: (questions, parameters)."""
        own = by_candidate(residuals, self.first, self.second, self.size)
        return np.column_stack([own, (residuals * self.longer).sum(axis=1)])


def _chance(odds: Floats) -> Floats:
    return 1 / (1 + np.exp(-odds))
