"""Whether the longer answer wins, and ratings with the advantage of length taken out.

Bradley-Terry with one more term: the difference of two answers' lengths in characters, divided by
its root mean square and passed through tanh, so that a single very long answer decides nothing.
What Markdown adds beside it is fitted with a second such term.
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
    """Return ratings and coefficient; None where no two answers differ in length."""
    data = _data(tally, [lengths])
    if data is None:
        return None
    best, drawn = data.fitted(bootstrap)
    return LengthControl(
        ratings=rating_figures(
            best[: tally.size], drawn[:, : tally.size], data.met, tally.first, tally.second
        ),
        coefficient=data.figure(best, drawn, 0, undecoded),
    )


def markdown_coefficient(
    tally: Tally, lengths: Floats, marks: Floats, bootstrap: Bootstrap, undecoded: int
) -> Figure | None:
    """Return what Markdown adds beside length; None where no two answers differ in both."""
    data = _data(tally, [lengths, marks])
    if data is None:
        return None
    return data.figure(*data.fitted(bootstrap), 1, undecoded)


def _data(tally: Tally, measures: Sequence[Floats]) -> _Data | None:
    """Return pairs of answers that are known, with their differences in each measure."""
    place = np.ix_(tally.questions, tally.candidates)
    apart = [each[place][:, tally.first] - each[place][:, tally.second] for each in measures]
    known = np.isfinite(np.sum(apart, axis=0))
    won, met = np.where(known, tally.won, 0.0), np.where(known, tally.met, 0.0)
    terms: list[Floats] = []
    for each in apart:
        difference = np.where(known, each, 0.0)
        scale = np.sqrt((met * difference**2).sum() / max(1.0, met.sum()))
        if not scale > 0:
            return None
        terms.append(np.tanh(difference / scale))
    return _Data(tally.first, tally.second, tally.size, won, met, terms)


@dataclass(frozen=True, slots=True)
class _Data:
    """Pairs by question with differences; parameters: the candidates, then one for each term."""

    first: Ints
    second: Ints
    size: int
    won: Floats
    met: Floats
    terms: list[Floats]

    def figure(self, best: Floats, drawn: Floats, term: int, undecoded: int) -> Figure:
        """Return one term's coefficient."""
        questions = int(covered(self.met.sum(axis=1, keepdims=True))[0])
        column = self.size + term
        found = drawn_figure(best[column], drawn[:, column], questions, round(self.met.sum()))
        return found.model_copy(update={"undecoded": undecoded})

    def fitted(self, bootstrap: Bootstrap) -> tuple[Floats, Floats]:
        """Return the parameters that fit all questions best, and those of each draw.

        A draw's are one step of Newton's method from the fit of all, which costs no fit each.
        """
        best = self._fit()
        return best, best + self._steps(best, bootstrap)

    def _fit(self) -> Floats:
        tie = self._tie()

        def loss(parameters: Floats) -> tuple[float, Floats]:
            odds = self._odds(parameters)
            level = parameters[self.first] - parameters[self.second]
            own = parameters[self.size :]
            value = (self.met * np.logaddexp(0, odds) - self.won * odds).sum()
            value += tie * (np.logaddexp(0, level) - 0.5 * level).sum()
            value += _PRIOR / 2 * (own**2).sum()
            slopes = -self._slopes(self.won - self.met * _chance(odds)).sum(axis=0)
            extra = tie * (_chance(level) - 0.5)
            slopes[: self.size] += by_candidate(extra, self.first, self.second, self.size)
            slopes[self.size :] += _PRIOR * own
            return float(value), slopes

        # scipy brings no types.
        minimize = cast("Callable[..., Any]", optimize.minimize)  # pyright: ignore[reportUnknownMemberType]
        options = {"maxiter": 2000, "ftol": 1e-14, "gtol": 1e-9}
        start = np.zeros(self.size + len(self.terms))
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
        return np.asarray(found.x, dtype=np.float64)

    def _steps(self, best: Floats, bootstrap: Bootstrap) -> Floats:
        """Return for each draw one Newton step from the fit of all: (draws, parameters)."""
        chance = _chance(self._odds(best))
        slopes = self._slopes(self.won - self.met * chance)
        # The fit of all is where slopes, prior and the added tie cancel: only the change counts.
        change = bootstrap.sums(slopes) - slopes.sum(axis=0)
        weights = self.met * chance * (1 - chance)
        level = bootstrap.sums(weights) + self._tie() / 4
        many = len(best)
        matrix = np.zeros((len(change), many, many))
        matrix[:, : self.size, : self.size] = laplacian(level, self.first, self.second, self.size)
        for place, term in enumerate(self.terms, self.size):
            curvature = bootstrap.sums(self._slopes(weights * term))
            matrix[:, :, place] = matrix[:, place, :] = curvature
        diagonal = range(self.size, many)
        matrix[:, diagonal, diagonal] += _PRIOR
        return np.asarray(np.linalg.solve(matrix, change[..., None])[..., 0], dtype=np.float64)

    def _tie(self) -> float:
        """Return 1 if one imaginary review, in which all tie, must keep the ratings finite."""
        total_won, total_met = self.won.sum(axis=0)[None], self.met.sum(axis=0)[None]
        held = steadied(total_won, total_met, self.first, self.second, self.size)[2]
        return float(held[0])

    def _odds(self, parameters: Floats) -> Floats:
        odds = parameters[self.first] - parameters[self.second] + np.zeros_like(self.met)
        for own, term in zip(parameters[self.size :], self.terms, strict=True):
            odds = odds + own * term
        return odds

    def _slopes(self, residuals: Floats) -> Floats:
        """Return by question the likelihood's slopes: (questions, parameters)."""
        own = by_candidate(residuals, self.first, self.second, self.size)
        return np.column_stack([own, *((residuals * term).sum(axis=1) for term in self.terms)])


def _chance(odds: Floats) -> Floats:
    return 1 / (1 + np.exp(-odds))
