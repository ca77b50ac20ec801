"""Figures drawn as SVG: what stands in one row of a plot, and the scale below it.

Lengths are per cent of the row's width, heights are pixels; colours are the style sheet's
classes. Numbers stand as text beside each drawing, so to a screen reader it is nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from markupsafe import Markup

from services.evaluator.reports import wording
from services.evaluator.reports.plots.axis import Axis
from shared.protocol.evals.results import Figure

_HEIGHT = 30
_AXIS_HEIGHT = 22
_CAP = 4
_RADIUS = 5
_APART = 6
"""How far two marks of one row stand above and below its middle."""


def interval_row(
    axis: Axis,
    figure: Figure | None,
    second: Figure | None = None,
    reference: float | None = None,
) -> Markup:
    """Return a row with a figure and its interval, and a second one below it as a hollow mark."""
    apart = _APART if _value(figure) is not None and _value(second) is not None else 0
    marks = [*_grid(axis, reference)]
    marks += _mark(axis, figure, _HEIGHT / 2 - apart, "first")
    marks += _mark(axis, second, _HEIGHT / 2 + apart, "second")
    return _drawing(_HEIGHT, marks)


def scale_row(axis: Axis, *, percent: bool = False) -> Markup:
    """Return the numbers below the rows."""
    digits = max(0, axis.digits - 2) if percent else axis.digits
    marks = [
        Markup('<text x="{}%" y="14" text-anchor="middle">{}</text>').format(
            _n(axis.place(tick)),
            wording.share(tick, digits) if percent else wording.number(tick, digits),
        )
        for tick in axis.ticks
    ]
    return _drawing(_AXIS_HEIGHT, marks)


def heat(part: float) -> Markup:
    """Return the ground of a cell for a share from 0 to 1: the further from half, the stronger."""
    strength = min(abs(part - 0.5) * 2, 1.0)
    mark = Markup('<rect class="{}" width="100%" height="100%" fill-opacity="{}"/>').format(
        "won" if part >= 1 / 2 else "lost", _n(0.62 * strength)
    )
    return _drawing(None, [mark])


def stacked_bar(parts: Sequence[float]) -> Markup:
    """Return one bar of several parts, each with a class of its own (`part0`, `part1`, …)."""
    whole = sum(parts) or 1.0
    marks: list[Markup] = []
    start = 0.0
    for place, part in enumerate(parts):
        width = 100 * part / whole
        marks.append(
            Markup('<rect class="part{}" x="{}%" width="{}%" height="100%"/>').format(
                place, _n(start), _n(width)
            )
        )
        start += width
    return _drawing(14, marks)


def _grid(axis: Axis, reference: float | None) -> list[Markup]:
    lines = [_upright(axis.place(tick), "grid") for tick in axis.ticks]
    if reference is not None and axis.low <= reference <= axis.high:
        lines.append(_upright(axis.place(reference), "reference"))
    return lines


def _upright(place: float, kind: str) -> Markup:
    return Markup('<line class="{}" x1="{x}%" x2="{x}%" y1="-40%" y2="140%"/>').format(
        kind, x=_n(place)
    )


def _mark(axis: Axis, figure: Figure | None, height: float, kind: str) -> list[Markup]:
    value = _value(figure)
    if figure is None or value is None:
        return []
    marks: list[Markup] = []
    if figure.interval and isfinite(figure.interval.low) and isfinite(figure.interval.high):
        ends = [axis.place(figure.interval.low), axis.place(figure.interval.high)]
        marks.append(_line(kind, (ends[0], ends[1]), (height, height)))
        marks += [_line(kind, (end, end), (height - _CAP, height + _CAP)) for end in ends]
    marks.append(
        Markup('<circle class="{}" cx="{}%" cy="{}" r="{}"/>').format(
            kind, _n(axis.place(value)), _n(height), _RADIUS
        )
    )
    return marks


def _line(kind: str, x: tuple[float, float], y: tuple[float, float]) -> Markup:
    return Markup('<line class="{}" x1="{}%" x2="{}%" y1="{}" y2="{}"/>').format(
        kind, _n(x[0]), _n(x[1]), _n(y[0]), _n(y[1])
    )


def _drawing(height: int | None, marks: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg aria-hidden="true" focusable="false" width="100%" height="{}">{}</svg>'
    ).format("100%" if height is None else height, Markup("").join(marks))


def _value(figure: Figure | None) -> float | None:
    if figure is None or figure.value is None or not isfinite(figure.value):
        return None
    return figure.value


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
