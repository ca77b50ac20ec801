"""Figures below each other on one scale, each with its interval: a forest plot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from services.evaluator.reports.measures import Notation
from services.evaluator.reports.plots.axis import Axis, axis_over
from services.evaluator.reports.plots.marks import interval_row, scale_row
from shared.protocol.evals.results import Figure


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands in one row."""

    label: str
    figure: Figure | None
    second: Figure | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One row, drawn and written."""

    label: str
    note: str
    drawing: Markup
    value: str
    interval: str
    n: int | None
    second: str
    second_interval: str


@dataclass(frozen=True, slots=True)
class Forest:
    """All rows and their scale."""

    title: str
    measure: str
    rows: list[Row]
    scale: Markup
    turned: bool


def forest(
    title: str, measure: Notation, entries: Sequence[Entry], axis: Axis | None = None
) -> Forest:
    """Draw some figures of one measure, on a scale of their own unless one is given."""
    axis = axis or axis_for(measure, entries)
    return Forest(
        title=title,
        measure=measure.title,
        rows=[_row(axis, measure, entry) for entry in entries],
        scale=scale_row(axis, percent=measure.percent),
        turned=axis.turned,
    )


def axis_for(measure: Notation, entries: Iterable[Entry]) -> Axis:
    """Return a scale that holds all that is drawn of a measure; the better end is the right one."""
    values = [value for entry in entries for value in _drawn(entry)]
    if measure.reference is not None and values:
        values.append(measure.reference)
    bounds = (0.0, 1.0) if measure.percent else None
    return axis_over(values, turned=measure.lower_is_better, bounds=bounds)


def _row(axis: Axis, measure: Notation, entry: Entry) -> Row:
    return Row(
        label=entry.label,
        note=entry.note,
        drawing=interval_row(axis, entry.figure, entry.second, measure.reference),
        value=measure.text(entry.figure),
        interval=measure.interval(entry.figure),
        n=entry.figure.n if entry.figure else None,
        second=measure.text(entry.second) if entry.second else "",
        second_interval=measure.interval(entry.second),
    )


def _drawn(entry: Entry) -> Iterable[float]:
    for figure in (entry.figure, entry.second):
        if figure is None:
            continue
        if figure.value is not None:
            yield figure.value
        if figure.interval is not None:
            yield from (figure.interval.low, figure.interval.high)
