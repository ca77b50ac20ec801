"""Figures that are a ratio of two sums over questions: means, shares, differences.

Owns which interval fits: Wilson's where each question has one verdict that is yes or no, an exact
one where all questions say the same, else the bootstrap's.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from services.evaluator.analysis.arrays import Floats
from services.evaluator.analysis.bootstrap import LEVEL, Bootstrap, covered, intervals
from shared.protocol.evals.results import Figure, Interval

_TAIL = (1 - LEVEL) / 2
SHARE = (0.0, 1.0)
BALANCE = (-1.0, 1.0)


def ratios(
    sums: Floats,
    counts: Floats,
    bootstrap: Bootstrap,
    *,
    bounds: tuple[float, float] | None = None,
    n: Floats | None = None,
    undecoded: Floats | None = None,
) -> list[Figure]:
    """Return a figure for each column of `sums` and `counts`, both (questions, k).

    `n` and `undecoded` (k) are told beside it; `n` is the sum of the counts where none is given.
    """
    totals = counts.sum(axis=0)
    told = totals if n is None else n
    missing = np.zeros(len(totals)) if undecoded is None else undecoded
    drawn = _divided(bootstrap.sums(sums), bootstrap.sums(counts))
    spread = intervals(drawn, covered(counts))
    found: list[Figure] = []
    for place, total in enumerate(totals):
        value = float(sums[:, place].sum() / total) if total > 0 else None
        interval = _sharper(sums[:, place], counts[:, place], bounds, spread[place])
        found.append(
            Figure(
                value=value,
                interval=interval if value is not None else None,
                n=round(float(told[place])),
                undecoded=round(float(missing[place])),
            )
        )
    return found


def ratio(
    sums: Floats,
    counts: Floats,
    bootstrap: Bootstrap,
    *,
    bounds: tuple[float, float] | None = None,
    undecoded: int = 0,
) -> Figure:
    """Return the figure of one column."""
    missing = np.array([float(undecoded)])
    columns = sums[:, None], counts[:, None]
    return ratios(*columns, bootstrap, bounds=bounds, undecoded=missing)[0]


def drawn_figure(value: float, draws: Floats, questions: int, n: int) -> Figure:
    """Return a figure that was computed anew for each draw.

    Without an interval where all draws are alike: they do not tell how uncertain it is.
    """
    if not np.isfinite(value):
        return Figure(value=None, n=n)
    interval = intervals(draws[:, None], np.array([float(questions)]))[0]
    if interval is not None and interval.high - interval.low < 1e-9:  # noqa: PLR2004 - rounding
        interval = None
    return Figure(value=float(value), interval=interval, n=n)


def wilson(successes: float, trials: float) -> Interval:
    """Return Wilson's score interval of a rate."""
    z = float(special.ndtri(1 - _TAIL))
    rate = successes / trials
    scale = 1 + z * z / trials
    middle = (rate + z * z / (2 * trials)) / scale
    half = z * np.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials**2)) / scale
    return Interval(low=max(0.0, float(middle - half)), high=min(1.0, float(middle + half)))


def _sharper(
    sums: Floats, counts: Floats, bounds: tuple[float, float] | None, otherwise: Interval | None
) -> Interval | None:
    """Return the interval that fits the data better than the bootstrap's, where there is one."""
    present = counts > 0
    if not present.any():
        return None
    each = sums[present] / counts[present]
    if bounds == SHARE and (counts[present] == 1).all() and np.isin(each, (0.0, 1.0)).all():
        return wilson(float(each.sum()), len(each))
    if np.ptp(each) < 1e-12:  # noqa: PLR2004 - rounding
        return _alike(float(each[0]), len(each), bounds)
    return otherwise


def _alike(value: float, questions: int, bounds: tuple[float, float] | None) -> Interval | None:
    """Return the interval of a mean to which all questions contributed the same.

    With 95 % confidence no more than a certain share of questions would say otherwise
    (Clopper and Pearson for no success), and these could lie at the bounds.
    """
    if bounds is None:
        return None
    share = 1 - _TAIL ** (1 / questions)
    low, high = bounds
    return Interval(low=value - share * (value - low), high=value + share * (high - value))


def _divided(sums: Floats, counts: Floats) -> Floats:
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
