"""Scores as ranks, in the one way that all of the evaluator uses.

Knows neither who scored nor what.
"""

from __future__ import annotations

from collections.abc import Sequence


def ranks_of(scores: Sequence[float]) -> list[int]:
    """Return the competition ranks of scores (1, 2, 2, 4); the highest is first."""
    return [1 + sum(other > score for other in scores) for score in scores]
