"""Ratings with ties as an outcome of their own, beside Bradley-Terry's, which halves them.

The model is Davidson's (1970): of each two, i wins with p_i, j with p_j and neither with
2 v sqrt(p_i p_j), over their sum. Fitted by evalica with Newman's iteration (2023, "Efficient
computation of rankings from pairwise comparisons") and finished with Newton's method; there are
no draws, so there are no intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from services.evaluator.analysis.arrays import Floats, Ints, sums_at
from services.evaluator.analysis.ranking import MEAN, UNIT, by_candidate, laplacian, steadied
from services.evaluator.analysis.tally import Tally
from shared.protocol.evals.results import Figure

_STEPS = 50
_LONGEST_STEP = 2.0


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How often the first of each pair won, tied and lost."""

    first: Ints
    second: Ints
    wins: Floats
    ties: Floats
    losses: Floats

    @property
    def linked(self) -> bool:
        """Return whether wins lead from everybody to everybody: then a finite rating fits best."""
        decided = (self.wins + self.losses)[None]
        count = int(self.second.max()) + 1
        return not steadied(self.wins[None], decided, self.first, self.second, count)[2][0]


def newman_ratings(tally: Tally) -> list[Figure] | None:
    """Return ratings on the scale of Bradley-Terry's; None where nothing tied.

    None as well where wins alone do not lead from everybody to everybody: a tie then need not
    keep the ratings finite, since it may say only that ties are likely.
    """
    ties, met = tally.tied.sum(axis=0), tally.met.sum(axis=0)
    wins = tally.won.sum(axis=0) - ties / 2
    losses = met - wins - ties
    if not ties.any():
        return None
    meetings = sums_at(tally.first, tally.size, met) + sums_at(tally.second, tally.size, met)
    there, kept = np.flatnonzero(meetings), met > 0
    outcomes = Outcomes(
        first=np.searchsorted(there, tally.first[kept]),
        second=np.searchsorted(there, tally.second[kept]),
        wins=wins[kept],
        ties=ties[kept],
        losses=losses[kept],
    )
    if not outcomes.linked:
        return None
    strengths = fit_with_ties(outcomes)
    found = [Figure(value=None)] * tally.size
    for candidate, strength in zip(there.tolist(), strengths.tolist(), strict=True):
        found[candidate] = Figure(value=MEAN + UNIT * strength, n=round(meetings[candidate]))
    return found


def fit_with_ties(of: Outcomes) -> Floats:
    """Return the log-odds of each candidate, mean 0."""
    from evalica import Winner, newman  # noqa: PLC0415 - brings pandas

    outcomes = (of.wins, Winner.X), (of.losses, Winner.Y), (of.ties, Winner.Draw)
    rows = [
        (int(one), int(other), winner, float(times))
        for counts, winner in outcomes
        for one, other, times in zip(of.first, of.second, counts, strict=True)
        if times
    ]
    ones, others, winners, weights = (list(column) for column in zip(*rows, strict=True))
    # pandas brings no types.
    found = cast("Any", newman)(ones, others, winners, weights=weights, limit=10_000)
    scores = cast("dict[int, float]", found.scores.to_dict())
    strengths = np.log(np.array([scores[place] for place in sorted(scores)]))
    return _finished(np.append(strengths, np.log(2 * found.v)), of)


def _finished(start: Floats, of: Outcomes) -> Floats:
    """Return the log-odds that fit best, mean 0, from log-odds and log(2 v) near them.

    evalica ends when the strengths stand still, and they may while v does not: of two candidates
    with as many ties as wins and losses it ends in the second round.
    """
    fitted, count = start.copy(), len(start) - 1
    first, second, met = of.first, of.second, of.wins + of.ties + of.losses
    for _ in range(_STEPS):
        apart = (fitted[first] - fitted[second]) / 2
        odds = np.exp([apart, np.full(len(met), fitted[-1]), -apart])
        win, tie, loss = odds / odds.sum(axis=0)
        slopes = by_candidate((of.wins - of.losses - met * (win - loss)) / 2, first, second, count)
        spread = met * (win + loss - (win - loss) ** 2) / 4
        both = by_candidate(-met * tie * (win - loss) / 2, first, second, count)
        matrix = np.empty((count + 1, count + 1))
        matrix[:-1, :-1] = laplacian(spread[None], first, second, count)[0]
        matrix[:-1, -1] = matrix[-1, :-1] = both
        matrix[-1, -1] = (met * tie * (1 - tie)).sum()
        step = np.linalg.solve(matrix, np.append(slopes, (of.ties - met * tie).sum()))
        fitted += np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        if np.abs(step).max() < 1e-6:  # noqa: PLR2004 - the next one would be its square
            break
    return fitted[:-1] - fitted[:-1].mean()
