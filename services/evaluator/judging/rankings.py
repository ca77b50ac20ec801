"""Numbers that a judge gave as ranks, read as competitions give them: 1, 2, 2, 4.

Owns what numbers tell an order; knows no judge.
"""

from __future__ import annotations

from collections.abc import Sequence


def competition_ranks(ranks: Sequence[int]) -> list[int] | None:
    """Return `ranks` as competition ranks, or None if they are no ranking.

    The three ways to number an order with ties are taken, since each has one reading: 1 2 2 4
    (competition), 1 2 2 3 (dense) and 1 3 3 4 (the last place of those who share it).
    """
    standard = [1 + sum(other < rank for other in ranks) for rank in ranks]
    last = [sum(other <= rank for other in ranks) for rank in ranks]
    places = {rank: place for place, rank in enumerate(sorted(set(ranks)), 1)}
    dense = [places[rank] for rank in ranks]
    return standard if list(ranks) in (standard, last, dense) else None
