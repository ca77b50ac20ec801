"""Pairs that a judge saw in both orders, all else being equal, and what it said of each order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.evaluator.analysis.arrays import Bools, Floats, Ints, sums_at
from services.evaluator.analysis.table import Table


@dataclass(frozen=True, slots=True)
class BothOrders:
    """One row for each two answers that one judge saw in both orders in one repeat."""

    question: Ints
    one: Ints
    """The candidate with the smaller number."""
    other: Ints
    before: Floats
    """Where `one` stood first: 1 if it was better, -1 if the other was, 0 if neither.

    A line-up that is rotated may show an order more than once: then what it said more often.
    """
    after: Floats
    """The same where `one` stood second."""
    weight: Floats
    """1 / (n - 1) of a line-up of n."""

    @property
    def agreed(self) -> Bools:
        """Return of which pairs both orders said the same."""
        return self.before == self.after


def in_both_orders(table: Table, rows: Ints) -> BothOrders:
    """Return those among the given rows of the table's pairs."""
    pairs = table.pairs
    first, second, review = pairs.first[rows], pairs.second[rows], pairs.review[rows]
    one, other = np.minimum(first, second), np.maximum(first, second)
    count = len(table.candidates)
    look = table.look[review]
    _, row, unit = np.unique(
        (look * count + one) * count + other, return_index=True, return_inverse=True
    )
    units = len(row)
    # From the point of view of the candidate with the smaller number.
    straight = first < second
    outcome = np.where(straight, 1, -1) * (2 * pairs.won[rows] - 1)
    before = sums_at(unit[straight], units, outcome[straight])
    after = sums_at(unit[~straight], units, outcome[~straight])
    both = (sums_at(unit[straight], units) > 0) & (sums_at(unit[~straight], units) > 0)
    weight = sums_at(unit, units, 1 / (pairs.size[rows] - 1)) / sums_at(unit, units)
    return BothOrders(
        question=table.question[review[row[both]]],
        one=one[row[both]],
        other=other[row[both]],
        before=np.sign(before[both]),
        after=np.sign(after[both]),
        weight=weight[both],
    )
