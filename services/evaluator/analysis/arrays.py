"""Names of the kinds of arrays that statistics are made of, and their sums by place."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def sums_at(places: Ints, count: int, values: ArrayLike | None = None) -> Floats:
    """Return the sums of the values (of ones, if none) that have each place, 0 to `count` - 1."""
    return np.bincount(places, weights=values, minlength=count).astype(np.float64)
