"""How much two sequences have in common, in the same order."""

from __future__ import annotations

from collections.abc import Sequence


def common_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    Bit-parallel (Hyyro 2004): one row of the table is one integer.
    """
    places: dict[str, int] = {}
    for place, item in enumerate(first):
        places[item] = places.get(item, 0) | (1 << place)
    everything = (1 << len(first)) - 1
    row = everything
    for item in second:
        matches = row & places.get(item, 0)
        row = ((row + matches) | (row - matches)) & everything
    return len(first) - row.bit_count()


def harmonic_share(common: int, first: int, second: int) -> float:
    """Return the harmonic mean of the shares that `common` has in both."""
    return 2 * common / (first + second) if first + second else 0.0
