"""How far sources of verdicts agree: judges, a judge and people, repeats, dimensions.

Krippendorff's alpha with the ordinal metric over what each source says of each candidate; the
share of pairs with the same outcome; Cohen's kappa of pairs where there are two sources.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from services.evaluator.analysis.arrays import Floats, Ints, sums_at
from services.evaluator.analysis.bootstrap import Bootstrap
from services.evaluator.analysis.figures import SHARE, drawn_figure, ratio
from shared.protocol.evals.results import Agreement, Figure

Between = Literal["judges", "humans", "repeats", "dimensions"]
_OUTCOMES = 3


@dataclass(frozen=True, slots=True)
class Look:
    """What each source says of one line-up; the same places in both."""

    question: int
    values: tuple[tuple[float, ...] | None, ...]
    """By source: scores, else ranks."""
    ranks: tuple[tuple[int, ...] | None, ...]


def agreement_of(
    between: Between, names: Sequence[str], looks: Iterable[Look], bootstrap: Bootstrap
) -> Agreement | None:
    """Return how far the named sources agree; None where no two said anything of the same."""
    sizes: dict[int, list[Look]] = {}
    for look in looks:
        said = [value for value in look.values if value is not None]
        if len(said) > 1:
            sizes.setdefault(len(said[0]), []).append(look)
    if not sizes:
        return None
    questions, values, outcomes, pairs_of = _units(len(names), sizes)
    alpha = _alpha(questions, values, bootstrap)
    same, kappa = _outcomes(pairs_of, outcomes, bootstrap)
    return Agreement(
        between=between,
        names=list(names),
        alpha=alpha,
        same_winner=same,
        kappa=kappa if len(names) == 2 else None,  # noqa: PLR2004
    )


def _units(sources: int, sizes: dict[int, list[Look]]) -> tuple[Ints, Floats, Floats, Ints]:
    """Return (question, value by source) of each candidate and (outcome, question) of each pair."""
    values, outcomes = [np.zeros((0, sources))], [np.zeros((0, sources))]
    questions, pairs = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for size, looks in sorted(sizes.items()):
        question = np.array([look.question for look in looks], dtype=np.int64)
        nothing = (float("nan"),) * size
        said = np.array([[each or nothing for each in look.values] for look in looks])
        ranks = np.array([[each or nothing for each in look.ranks] for look in looks])
        one, other = np.triu_indices(size, 1)
        ahead = np.sign(ranks[:, :, other] - ranks[:, :, one])
        values.append(said.transpose(0, 2, 1).reshape(-1, sources))
        outcomes.append(ahead.transpose(0, 2, 1).reshape(-1, sources))
        questions.append(np.repeat(question, size))
        pairs.append(np.repeat(question, len(one)))
    return (
        np.concatenate(questions),
        np.concatenate(values),
        np.concatenate(outcomes),
        np.concatenate(pairs),
    )


def _alpha(question: Ints, values: Floats, bootstrap: Bootstrap) -> Figure:
    """Return alpha over units (rows) and sources (columns).

    The ordinal metric is the squared difference of middle ranks among all values that another
    source answers, so observed and expected disagreement are sums of powers of these; the draws
    keep the middle ranks of all. Equals `evalica.alpha`, without a matrix of all values squared.
    """
    said = np.isfinite(values)
    kept = said.sum(axis=1) > 1
    question, values, said = question[kept], values[kept], said[kept]
    _, code, counts = np.unique(values[said], return_inverse=True, return_counts=True)
    middle = np.zeros(values.shape)
    middle[said] = (np.cumsum(counts) - counts / 2)[code] / counts.sum()
    present, place = np.unique(question, return_inverse=True)
    many = said.sum(axis=1)
    once, squared = middle.sum(axis=1), (middle**2).sum(axis=1)
    observed = 2 * (many * squared - once**2) / (many - 1)
    columns = np.column_stack(
        [sums_at(place, len(present), part) for part in (many, once, squared, observed)]
    )
    value = _alpha_of(columns.sum(axis=0)[None])[0]
    return drawn_figure(value, _alpha_of(bootstrap.sums(columns)), len(present), int(kept.sum()))


def _alpha_of(sums: Floats) -> Floats:
    """Return alpha of sums (draws, 4); NaN where all say the same of everything."""
    many, once, squared, observed = sums.T
    expected = 2 * (many * squared - once**2)
    known = expected > 1e-12 * np.maximum(many, 1) ** 2
    return 1 - np.divide(
        (many - 1) * observed, expected, out=np.full(len(sums), np.nan), where=known
    )


def _outcomes(
    question: Ints, outcomes: Floats, bootstrap: Bootstrap
) -> tuple[Figure | None, Figure | None]:
    """Return the share of the same outcomes of pairs and kappa, over all two sources."""
    present, place = np.unique(question, return_inverse=True)
    shape = (len(present), _OUTCOMES * _OUTCOMES)
    cells = np.zeros(shape)
    for one, other in combinations(range(outcomes.shape[1]), 2):
        both = np.isfinite(outcomes[:, one]) & np.isfinite(outcomes[:, other])
        cell = (outcomes[both, one] + 1) * _OUTCOMES + outcomes[both, other] + 1
        flat = place[both] * shape[1] + cell.astype(np.int64)
        cells += sums_at(flat, shape[0] * shape[1]).reshape(shape)
    if not cells.any():
        return None, None
    counts = cells.sum(axis=1)
    same = ratio(cells[:, :: _OUTCOMES + 1].sum(axis=1), counts, bootstrap, bounds=SHARE)
    value = _kappa(cells.sum(axis=0)[None])[0]
    kappa = drawn_figure(value, _kappa(bootstrap.sums(cells)), len(present), int(counts.sum()))
    return same, kappa


def _kappa(cells: Floats) -> Floats:
    """Return Cohen's kappa of tables (draws, 9); NaN where chance alone gives full agreement."""
    tables = cells.reshape(-1, _OUTCOMES, _OUTCOMES)
    total = np.maximum(tables.sum(axis=(1, 2)), 1)
    seen = np.trace(tables, axis1=1, axis2=2) / total
    chance = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1) / total**2
    return np.divide(
        seen - chance, 1 - chance, out=np.full(len(tables), np.nan), where=chance < 1 - 1e-12
    )
