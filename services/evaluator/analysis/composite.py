"""One number for each candidate over all dimensions, weighted; the weights are told beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.protocol.evals.results import CandidateFigures, Scope


def composite_of(
    scopes: Sequence[Scope], weights: Mapping[str, float], *, scoring: bool
) -> tuple[list[tuple[str, float]], dict[str, float]]:
    """Return candidates, best first, and the weight of each dimension.

    The weighted mean of the dimensions' mean scores, or of their win rates where nothing is
    scored; a dimension without a figure for a candidate is not in its mean.
    """
    applied = {
        scope.dimension: float(weights.get(scope.dimension, 1.0))
        for scope in scopes
        if scope.dimension is not None
    }
    sums: dict[str, float] = {}
    totals: dict[str, float] = {}
    for scope in scopes:
        weight = 0.0 if scope.dimension is None else applied[scope.dimension]
        for figures in scope.candidates:
            value = _value(figures, scoring=scoring)
            if value is None or not weight:
                continue
            sums[figures.candidate] = sums.get(figures.candidate, 0.0) + weight * value
            totals[figures.candidate] = totals.get(figures.candidate, 0.0) + weight
    means = [(name, sums[name] / totals[name]) for name in sums]
    return sorted(means, key=lambda entry: -entry[1]), applied


def _value(figures: CandidateFigures, *, scoring: bool) -> float | None:
    figure = figures.mean_score if scoring else figures.win_rate
    return None if figure is None else figure.value
