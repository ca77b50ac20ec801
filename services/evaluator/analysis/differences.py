"""Whether two candidates differ: paired by question, with the chance of that by accident alone.

Owns the sign-flip test and Holm's correction. Knows no candidate by name.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

from services.evaluator.analysis.arrays import Floats, Ints

_LEVELS = (1000, 100)
"""Steps to which values that are no small whole numbers are rounded: as many as can be had."""
_PARTS = 120
"""Of one: the largest that a common step is looked for in."""
_MOST_WORK = 20_000_000
SIGNIFICANT = 0.05


def sign_flip_p(values: Floats) -> float:
    """Return the chance of a sum as far from 0 as that of `values`, had each either sign.

    Two-sided. Exact: the sum's distribution is the inverse Fourier transform of the product of
    cosines. Values that are whole multiples of a part of one (as means of a few verdicts are) are
    taken as they are; others are rounded to a thousandth of the largest, or to a hundredth of it
    where there are many. Of very many values it is the normal distribution's.
    """
    values = values[np.isfinite(values) & (values != 0)]
    if len(values) == 0:
        return 1.0
    for levels in _LEVELS:
        steps = _whole(values, levels)
        sizes, counts = np.unique(np.abs(steps), return_counts=True)
        reach = int(np.abs(steps).sum())
        points = 2 * reach + 1
        if len(sizes) * points <= _MOST_WORK:
            return _exact(steps, sizes, counts, reach)
    return float(special.erfc(abs(values.sum()) / np.sqrt(2 * (values**2).sum())))


def _exact(steps: Floats, sizes: Floats, counts: Ints, reach: int) -> float:
    """Return the chance for whole numbers, whose absolute values sum up to `reach`."""
    points = 2 * reach + 1
    angles = 2 * np.pi * np.arange(points) / points
    product = np.ones(points)
    for size, count in zip(sizes, counts, strict=True):
        product *= np.cos(size * angles) ** count
    chances = np.fft.ifft(product).real
    sums = np.arange(points)
    sums[reach + 1 :] -= points
    p = float(chances[np.abs(sums) >= abs(int(steps.sum()))].sum())
    # Rounding of the transform; fewer than 2 ** -n cannot be.
    return min(1.0, max(p, 1e-15, 2.0 ** (1 - min(len(steps), 1000))))


def holm(chances: Sequence[float]) -> list[float]:
    """Return the chances corrected for how many there are (Holm 1979), in the same order."""
    order = sorted(range(len(chances)), key=lambda place: chances[place])
    corrected = [1.0] * len(chances)
    worst = 0.0
    for place, index in enumerate(order):
        worst = max(worst, min(1.0, (len(chances) - place) * chances[index]))
        corrected[index] = worst
    return corrected


def _whole(values: Floats, levels: int) -> Floats:
    """Return the values as whole numbers of a common step."""
    largest = float(np.abs(values).max())
    for parts in range(1, int(min(_PARTS, levels / largest)) + 1):
        rounded = np.rint(values * parts)
        if np.allclose(values * parts, rounded, rtol=0, atol=1e-9):
            return rounded
    return np.rint(values * (levels / largest))
