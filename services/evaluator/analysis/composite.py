"""One number for each candidate over all dimensions, weighted; the weights are told beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from shared.protocol.evals.results import CandidateFigures, Scope

Scale = tuple[float, float]
NO_SCALE: Scale = (0.0, 1.0)
"""Of a dimension of which nothing is said."""


def composite_of(
    scopes: Sequence[Scope],
    weights: Mapping[str, float],
    scales: Mapping[str, Scale],
    *,
    scoring: bool,
) -> tuple[list[tuple[str, float]], dict[str, float]]:
    """Return candidates, best first, and the weight of each dimension.

    The weighted mean of the dimensions' mean scores, each from 0 to 1 on its own scale, or of
    their win rates where nothing is scored; a dimension without a figure for a candidate is not
    in its mean.
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
            scale = scales.get(scope.dimension or "", NO_SCALE)
            value = _value(figures, scale, scoring=scoring)
            if value is None or not weight:
                continue
            sums[figures.candidate] = sums.get(figures.candidate, 0.0) + weight * value
            totals[figures.candidate] = totals.get(figures.candidate, 0.0) + weight
    means = [(name, sums[name] / totals[name]) for name in sums]
    return sorted(means, key=lambda entry: -entry[1]), applied


def one_scale(dimensions: Iterable[str], scales: Mapping[str, Scale]) -> bool:
    """Return whether scores in these dimensions can be added up."""
    return len({scales.get(name, NO_SCALE) for name in dimensions}) <= 1


def _value(figures: CandidateFigures, scale: Scale, *, scoring: bool) -> float | None:
    figure = figures.mean_score if scoring else figures.win_rate
    if figure is None or figure.value is None or not scoring:
        return None if figure is None else figure.value
    low, high = scale
    return (figure.value - low) / (high - low)
