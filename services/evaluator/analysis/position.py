"""Whether the place in the line-up decides, judge by judge.

Pairs that a judge saw in both orders tell it from quality; how often whoever stands before the
other wins does not, since better candidates may have stood first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.evaluator.analysis.arrays import Bools, Floats, Ints, sums_at
from services.evaluator.analysis.bootstrap import Bootstrap
from services.evaluator.analysis.figures import SHARE, drawn_figure, ratio
from services.evaluator.analysis.table import Table
from services.evaluator.analysis.tally import chosen_pairs
from shared.protocol.evals.results import Figure, PositionBias


@dataclass(frozen=True, slots=True)
class _Seen:
    """Pairs in both orders, one row each: outcome for one of them when it stood first, and not."""

    question: Ints
    before: Floats
    after: Floats


def position_of(
    table: Table, judge: str, chosen: Bools, bootstrap: Bootstrap, undecoded: int
) -> PositionBias | None:
    """Return one judge's bias; None if the chosen reviews have no line-up of two or more."""
    rows = chosen_pairs(table.pairs, chosen)
    if len(rows) == 0 and not undecoded:
        return None
    question = table.question[table.pairs.review[rows]]
    won = table.pairs.won[rows]
    decided = won != 0.5  # noqa: PLR2004 - a tie
    share = _share(question[decided], won[decided] == 1, bootstrap, undecoded)
    seen = _in_both_orders(table, rows)
    if len(seen.question) == 0:
        return PositionBias(judge=judge, first_share=share, consistent=None, reversed=None)
    turned = seen.before * seen.after < 0
    agreed = seen.before == seen.after
    return PositionBias(
        judge=judge,
        first_share=share,
        consistent=_share(seen.question, agreed, bootstrap, undecoded),
        reversed=_share(seen.question, turned, bootstrap, undecoded),
        strict_ties=int((~agreed | (seen.before == 0)).sum()),
        coefficient=_coefficient(seen.question, seen.before[turned], turned, bootstrap),
    )


def _share(question: Ints, hits: Bools, bootstrap: Bootstrap, undecoded: int) -> Figure:
    present, places = np.unique(question, return_inverse=True)
    sums, counts = sums_at(places, len(present), hits), sums_at(places, len(present))
    return ratio(sums, counts, bootstrap, bounds=SHARE, undecoded=undecoded)


def _in_both_orders(table: Table, rows: Ints) -> _Seen:
    """Return the pairs that one judge saw in both orders, all else being equal."""
    first, second = table.pairs.first[rows], table.pairs.second[rows]
    review = table.pairs.review[rows]
    count = len(table.candidates)
    looks = _looks(table)[review]
    pair = np.minimum(first, second) * count + np.maximum(first, second)
    _, unit = np.unique(looks * count * count + pair, return_inverse=True)
    units = int(unit.max()) + 1 if len(unit) else 0
    # From the point of view of the candidate with the smaller number.
    straight = first < second
    outcome = np.where(straight, 1, -1) * (2 * table.pairs.won[rows] - 1)
    before = sums_at(unit[straight], units, outcome[straight])
    after = sums_at(unit[~straight], units, outcome[~straight])
    both = (sums_at(unit[straight], units) > 0) & (sums_at(unit[~straight], units) > 0)
    question = np.zeros(units, dtype=np.int64)
    question[unit] = table.question[review]
    return _Seen(question[both], np.sign(before[both]), np.sign(after[both]))


def _looks(table: Table) -> Ints:
    """Return for each review a number of its question, dimension, judge and repeat."""
    numbers: dict[tuple[str, str, str, int], int] = {}
    return np.array(
        [
            numbers.setdefault(
                (review.question, review.dimension, review.judge, review.repeat), len(numbers)
            )
            for review in table.reviews
        ],
        dtype=np.int64,
    )


def _coefficient(question: Ints, before: Floats, turned: Bools, bootstrap: Bootstrap) -> Figure:
    """Return the log-odds for who stands first, given that the verdict turned with the order.

    Whatever the two answers are worth, the odds that it turned in favour of the first place each
    time, and not of the second, are exp(2 b): the conditional fit needs no model of quality.
    """
    present, places = np.unique(question, return_inverse=True)
    place = places[turned]
    counts = np.column_stack(
        [
            sums_at(place[before > 0], len(present)),
            sums_at(place[before < 0], len(present)),
        ]
    )
    # One half added to each: finite where one of them never was (Haldane 1956).
    value = _log_odds(counts.sum(axis=0)[None])[0]
    draws = _log_odds(bootstrap.sums(counts))
    return drawn_figure(value, draws, len(present), len(turned))


def _log_odds(counts: Floats) -> Floats:
    return 0.5 * np.log((counts[:, 0] + 0.5) / (counts[:, 1] + 0.5))
