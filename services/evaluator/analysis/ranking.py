"""Bradley-Terry ratings: of all pairs by evalica, of each draw by Newton's method from there.

Where somebody never lost (or never won) against the rest, no finite rating fits best. Then one
imaginary review in which all tie is added, and whoever asks is told so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from services.evaluator.analysis.arrays import Bools, Floats, Ints
from services.evaluator.analysis.bootstrap import Bootstrap, covered
from services.evaluator.analysis.figures import drawn_figure
from shared.protocol.evals.results import Figure

UNIT = 400 / np.log(10)
MEAN = 1000.0
_STEPS = 12
_LONGEST_STEP = 2.0


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ratings of all candidates."""

    strengths: Floats
    """Log-odds, mean 0."""
    figures: list[Figure]
    steadied: bool
    """An imaginary review was added."""


def rank(
    won: Floats, met: Floats, first: Ints, second: Ints, bootstrap: Bootstrap
) -> Ranking | None:
    """Return ratings from what the first of each pair got (questions, pairs); None without pairs."""
    count = int(second.max()) + 1 if len(second) else 0
    total = met.sum(axis=0)
    if not total.any():
        return None
    sums, meetings, held = steadied(won.sum(axis=0)[None], total[None], first, second, count)
    strengths = fit(sums[0], meetings[0], first, second)
    drawn_sums, drawn_meetings, _ = steadied(
        bootstrap.sums(won), bootstrap.sums(met), first, second, count
    )
    drawn = newton(drawn_sums, drawn_meetings, first, second, strengths)
    return Ranking(
        strengths=strengths,
        figures=rating_figures(strengths, drawn, met, first, second),
        steadied=bool(held[0]),
    )


def rating_figures(
    strengths: Floats, drawn: Floats, met: Floats, first: Ints, second: Ints
) -> list[Figure]:
    """Return ratings of log-odds and of their draws (resamples, candidates)."""
    count = len(strengths)
    meetings = met @ np.abs(_signs(first, second, count))
    questions, n = covered(meetings), meetings.sum(axis=0)
    ratings = MEAN + UNIT * (strengths - strengths.mean())
    draws = MEAN + UNIT * (drawn - drawn.mean(axis=1, keepdims=True))
    return [
        drawn_figure(ratings[place], draws[:, place], int(questions[place]), round(n[place]))
        for place in range(count)
    ]


def steadied(
    won: Floats, met: Floats, first: Ints, second: Ints, count: int
) -> tuple[Floats, Floats, Bools]:
    """Return sums (draws, pairs) that have a finite best fit, and in which of them a tie was added.

    One exists if everybody can be reached from everybody by who won against whom (Ford 1957).
    """
    beaten = np.zeros((len(won), count, count), dtype=np.float32)
    beaten[:, first, second] = won > 0
    beaten[:, second, first] = met - won > 1e-9  # noqa: PLR2004 - rounding
    beaten[:, range(count), range(count)] = 1
    for _ in range(int(np.ceil(np.log2(max(2, count))))):
        beaten = np.minimum(beaten @ beaten, 1)
    held = (beaten == 0).any(axis=(1, 2))
    return won + 0.5 * held[:, None], met + 1.0 * held[:, None], held


def fit(won: Floats, met: Floats, first: Ints, second: Ints) -> Floats:
    """Return the log-odds of each candidate, mean 0, from sums of all pairs."""
    from evalica import Winner, bradley_terry  # noqa: PLC0415 - brings pandas

    lost = met - won
    ones, others = won > 0, lost > 0
    winners = [Winner.X] * int(ones.sum()) + [Winner.Y] * int(others.sum())
    found = bradley_terry(
        np.concatenate([first[ones], first[others]]).tolist(),
        np.concatenate([second[ones], second[others]]).tolist(),
        winners,
        weights=np.concatenate([won[ones], lost[others]]).tolist(),
        tolerance=1e-12,
        limit=100_000,
    )
    # It sorts them; its index has the candidates' numbers.
    # pandas brings no types.
    scores = cast("dict[int, float]", cast("Any", found).scores.to_dict())
    strengths = np.log(np.array([scores[place] for place in sorted(scores)]))
    return strengths - strengths.mean()


def newton(won: Floats, met: Floats, first: Ints, second: Ints, start: Floats) -> Floats:
    """Return the log-odds of each draw (draws, candidates); `won` and `met` are (draws, pairs)."""
    strengths = np.tile(start, (len(won), 1))
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(strengths[:, second] - strengths[:, first]))
        slope = by_candidate(won - met * chance, first, second, len(start))
        step = np.linalg.solve(
            laplacian(met * chance * (1 - chance), first, second, len(start)), slope[..., None]
        )[..., 0]
        np.clip(step, -_LONGEST_STEP, _LONGEST_STEP, out=step)
        strengths += step
        if np.abs(step).max() < 1e-3:  # noqa: PLR2004 - the next one would be its square
            break
    return strengths


def by_candidate(values: Floats, first: Ints, second: Ints, count: int) -> Floats:
    """Return sums over pairs (…, pairs) as sums over candidates, plus for the first of each."""
    return values @ _signs(first, second, count)


def laplacian(weights: Floats, first: Ints, second: Ints, count: int) -> Floats:
    """Return the matrix of second derivatives (draws, candidates, candidates), made regular.

    What is added everywhere has no effect on a step, since the slopes' sum is 0: only differences
    count. The trace on the diagonal keeps who is in no pair of a draw where it is.
    """
    matrix = np.full((len(weights), count, count), 1e-3 + weights.max() / count)
    matrix[:, first, second] -= weights
    matrix[:, second, first] -= weights
    matrix[:, range(count), range(count)] += 1e-6 + weights @ np.abs(_signs(first, second, count))
    return matrix


def _signs(first: Ints, second: Ints, count: int) -> Floats:
    """Return (pairs, candidates): 1 for the first of a pair, -1 for the second."""
    signs = np.zeros((len(first), count))
    signs[range(len(first)), first] = 1
    signs[range(len(first)), second] = -1
    return signs
