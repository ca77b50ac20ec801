"""A scale from values to places on a line.

Places are per cent of its length, so that a plot fits any width without a script.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, log10

_EDGE = 3.0
"""Per cent left free at both ends, where marks and numbers need room."""
_STEPS = (1, 2, 2.5, 5, 10)
_TICKS = 4
_BEYOND = 1e12
"""What is no figure of anything does not stretch a scale; NaN is left out with it."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale and its ticks."""

    low: float
    high: float
    turned: bool = False
    """Whether small values stand on the right."""

    def place(self, value: float) -> float:
        """Return where a value stands, in per cent; what lies outside stands at the edge."""
        part = min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)
        return _EDGE + (100 - 2 * _EDGE) * (1 - part if self.turned else part)

    @property
    def step(self) -> float:
        """Return the distance of ticks."""
        wide = (self.high - self.low) / _TICKS
        power = 10.0 ** floor(log10(wide))
        return next(step for step in (each * power for each in _STEPS) if step >= wide * 0.999)

    @property
    def ticks(self) -> list[float]:
        """Return round values on the scale."""
        step = self.step
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [place * step for place in range(first, last + 1)]

    @property
    def digits(self) -> int:
        """Return how many places after the point tell ticks apart."""
        step = self.step
        digits = max(0, -floor(log10(step)))
        return digits if round(step, digits) == round(step, digits + 1) else digits + 1


def axis_over(
    values: Iterable[float],
    *,
    turned: bool = False,
    bounds: tuple[float, float] | None = None,
) -> Axis:
    """Return a scale that holds all values, with a little room, within `bounds`."""
    there = [value for value in values if abs(value) < _BEYOND]
    low, high = (min(there), max(there)) if there else (0.0, 1.0)
    room = (high - low) * 0.05 or max(abs(high) * 0.05, 0.05)
    low, high = low - room, high + room
    if bounds:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Axis(low, high, turned)
