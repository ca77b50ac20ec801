"""How candidates changed between two runs, over the questions that both have verdicts on.

By mean score where both runs score everything that is compared, on the same scales, else by the
share of pairs won.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from services.evaluator.analysis.arrays import Bools, Floats
from services.evaluator.analysis.bootstrap import Bootstrap
from services.evaluator.analysis.comparison import RunRows
from services.evaluator.analysis.composite import one_scale
from services.evaluator.analysis.differences import SIGNIFICANT, holm, sign_flip_p
from services.evaluator.analysis.figures import BALANCE, SHARE, ratio
from services.evaluator.analysis.table import Table
from shared.protocol.evals.results import ComparisonRow, Figure

Metric = Literal["mean_score", "win_rate"]
Means = dict[tuple[str, str | None], dict[str, float]]
"""By candidate and dimension: the mean of each question."""


def changes(
    first: RunRows, second: RunRows, seed: int, resamples: int
) -> tuple[Metric, int, list[ComparisonRow]]:
    """Return by what is compared, on how many questions, and each candidate's change."""
    before, after = Table(first.reviews, ()), Table(second.reviews, ())
    scored = _scored(before) and _scored(after) and _same_scales(first, second)
    metric: Metric = "mean_score" if scored else "win_rate"
    old, new = _means(before, metric), _means(after, metric)
    bootstrap = Bootstrap(seed, resamples)
    both: set[str] = set()
    rows: list[ComparisonRow] = []
    keys = old.keys() & new.keys()
    if scored and not one_scale({name for _, name in keys if name is not None}, first.scales):
        # Scores of different scales have no mean.
        keys = {key for key in keys if key[1] is not None}
    for key in sorted(keys, key=_order):
        shared = sorted(old[key].keys() & new[key].keys())
        if not shared:
            continue
        both.update(shared)
        was = np.array([old[key][question] for question in shared])
        now = np.array([new[key][question] for question in shared])
        rows.append(_row(key, was, now, bootstrap, shares=metric == "win_rate"))
    corrected = holm([row.p for row in rows])
    return (
        metric,
        len(both),
        [
            row.model_copy(update={"p_holm": p, "separable": p < SIGNIFICANT})
            for row, p in zip(rows, corrected, strict=True)
        ],
    )


def _row(
    key: tuple[str, str | None], was: Floats, now: Floats, bootstrap: Bootstrap, *, shares: bool
) -> ComparisonRow:
    p = sign_flip_p(now - was)
    return ComparisonRow(
        candidate=key[0],
        dimension=key[1],
        before=_mean(was, bootstrap, SHARE if shares else None),
        after=_mean(now, bootstrap, SHARE if shares else None),
        difference=_mean(now - was, bootstrap, BALANCE if shares else None),
        p=p,
        p_holm=p,
        separable=False,
    )


def _mean(values: Floats, bootstrap: Bootstrap, bounds: tuple[float, float] | None) -> Figure:
    return ratio(values, np.ones(len(values)), bootstrap, bounds=bounds)


def _scored(table: Table) -> bool:
    """Return whether each verdict has scores."""
    decoded = table.places.decoded
    return bool(decoded.any()) and bool(np.isfinite(table.places.score[decoded]).all())


def _same_scales(first: RunRows, second: RunRows) -> bool:
    both = first.scales.keys() & second.scales.keys()
    return all(first.scales[name] == second.scales[name] for name in both)


def _means(table: Table, metric: Metric) -> Means:
    """Return the mean of each question for each candidate, overall and in each dimension."""
    if metric == "mean_score":
        here = table.places
        kept: Bools = np.isfinite(here.score)
        rows = zip(here.review[kept], here.candidate[kept], here.score[kept], strict=True)
        return _grouped(table, [(int(a), int(b), float(c), 1.0) for a, b, c in rows])
    pairs = table.pairs
    weight = 1 / (pairs.size - 1)
    gains: list[tuple[int, int, float, float]] = []
    for candidate, won in ((pairs.first, pairs.won), (pairs.second, 1 - pairs.won)):
        columns = (pairs.review, candidate, won * weight, weight)
        gains += [(int(a), int(b), float(c), float(d)) for a, b, c, d in zip(*columns, strict=True)]
    return _grouped(table, gains)


def _grouped(table: Table, rows: Sequence[tuple[int, int, float, float]]) -> Means:
    sums: dict[tuple[str, str | None], dict[str, tuple[float, float]]] = {}
    for review, candidate, value, weight in rows:
        about = table.reviews[review]
        for dimension in (None, about.dimension):
            own = sums.setdefault((table.candidates[candidate], dimension), {})
            total, count = own.get(about.question, (0.0, 0.0))
            own[about.question] = total + value, count + weight
    return {
        key: {question: total / count for question, (total, count) in own.items()}
        for key, own in sums.items()
    }


def _order(key: tuple[str, str | None]) -> tuple[bool, str, str]:
    return key[1] is not None, key[1] or "", key[0]
