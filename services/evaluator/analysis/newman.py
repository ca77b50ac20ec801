"""Ratings with ties as an outcome of their own, beside Bradley-Terry's, which halves them.

The model is Davidson's (1970), which Newman fits (2023, "Efficient computation of rankings from
pairwise comparisons"): of each two, i wins with p_i, j with p_j and neither with 2 v sqrt(p_i p_j),
over their sum. Newton's method finds what his iteration finds, and what `evalica.newman` does where
it goes on to the end: it stops once the ratings stand still, which they may before v does (two
candidates with as many ties as other verdicts). There are no draws, so there are no intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.evaluator.analysis.arrays import Floats, Ints, sums_at
from services.evaluator.analysis.ranking import MEAN, UNIT, by_candidate, laplacian, steadied
from services.evaluator.analysis.tally import Tally
from shared.protocol.evals.results import Figure

_STEPS = 100
_SHORTEST_STEP = 1e-6


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
    """Return the log-odds of each candidate that fit linked outcomes best, mean 0."""
    size = int(of.second.max()) + 1
    fitted = np.zeros(size + 1)
    counts = np.array([of.wins, of.ties, of.losses])
    logs = _chances(fitted, of)
    for _ in range(_STEPS):
        step = _step(np.exp(logs), counts, of, size)
        after = _chances(fitted + step, of)
        # The likelihood has one summit, but a whole step may lead beyond it and down.
        while (counts * (after - logs)).sum() < 0 and np.abs(step).max() >= _SHORTEST_STEP:
            step /= 2
            after = _chances(fitted + step, of)
        fitted, logs = fitted + step, after
        if np.abs(step).max() < _SHORTEST_STEP:
            break
    return fitted[:-1] - fitted[:-1].mean()


def _chances(fitted: Floats, of: Outcomes) -> Floats:
    """Return the logarithms of how likely the first wins, ties and loses: (3, pairs)."""
    apart = (fitted[of.first] - fitted[of.second]) / 2
    odds = np.array([apart, np.full(len(apart), fitted[-1]), -apart])
    return odds - np.logaddexp.reduce(odds, axis=0)


def _step(chances: Floats, counts: Floats, of: Outcomes, size: int) -> Floats:
    """Return Newton's step of the log-odds and of log(2 v)."""
    met, (win, tie, loss) = counts.sum(axis=0), chances
    missing = counts - met * chances
    slopes = by_candidate((missing[0] - missing[2]) / 2, of.first, of.second, size)
    spread = met * (win + loss - (win - loss) ** 2) / 4
    matrix = np.empty((size + 1, size + 1))
    matrix[:-1, :-1] = laplacian(spread[None], of.first, of.second, size)[0]
    both = by_candidate(-met * tie * (win - loss) / 2, of.first, of.second, size)
    matrix[:-1, -1] = matrix[-1, :-1] = both
    matrix[-1, -1] = 1e-6 + (met * tie * (1 - tie)).sum()
    step = np.linalg.solve(matrix, np.append(slopes, missing[1].sum()))
    return np.asarray(step, dtype=np.float64)
