"""The tables of a run: medians, the ratio of ours to each, and the floors."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from services.cli.table import columns
from tests.bench.gateway.bench import Row

OURS = "llmzoo"


@dataclass(frozen=True)
class Floor:
    """What a figure of ours must reach, by itself or beside another's."""

    measure: str
    figure: str
    floor: float
    ambition: float
    against: str = ""
    how: str = "value"
    """`value`; `ratio` to the other's, or `added` to it."""
    least: bool = False
    """Whether more is better."""


FLOORS = (
    Floor("unary", "cpu_us", 1.5, 1.0, "sglang-router", "ratio"),
    Floor("unary", "cpu_us", 1 / 20, 1 / 40, "litellm", "ratio"),
    Floor("unary", "cpu_us", 1 / 15, 1 / 30, "fastchat", "ratio"),
    Floor("stream", "cpu_us_a_chunk", 1.2, 0.8, "sglang-router", "ratio"),
    Floor("stream", "cpu_us_a_chunk", 1 / 15, 1 / 25, "litellm", "ratio"),
    Floor("stream", "cpu_us_a_chunk", 1 / 7, 1 / 12, "fastchat", "ratio"),
    Floor("ledger", "cpu_us_a_chunk", 1.15, 1.05, "without ledger", "ratio"),
    Floor("latency at 30 %", "p50_ms", 0.5, 0.25, "direct", "added"),
    Floor("latency at 30 %", "p99_ms", 3.0, 1.5, "direct", "added"),
    Floor("many streams", "ttft_p50_ms", 1.0, 0.5, "direct", "added"),
    Floor("many streams", "itl_p99_ms", 2.0, 1.0, "direct", "added"),
    Floor("start", "seconds", 1.5, 0.8),
    Floor("idle streams", "kib_each", 40.0, 20.0),
    Floor("3x overload", "share", 0.9, 0.97, least=True),
    Floor("3x overload", "other_answers", 0.0, 0.0),
    Floor("leaving, stream", "p99_ms", 250.0, 100.0),
    Floor("leaving, unary", "p99_ms", 250.0, 100.0),
    Floor("leaving, queued", "p99_ms", 250.0, 100.0),
    Floor("leaving, at random", "still_held", 0.0, 0.0),
    Floor("3 workers hang", "models_p99_ms", 100.0, 20.0),
    Floor("3 workers hang", "health_p99_ms", 100.0, 20.0),
    Floor("Redis frozen", "failed", 0.0, 0.0),
    Floor("Redis frozen", "p99_ratio", 1.5, 1.1),
    Floor("Redis killed", "failed", 0.0, 0.0),
    Floor("Redis killed", "p99_ratio", 1.5, 1.1),
    Floor("prefixes", "of_oracle", 0.9, 0.97, least=True),
    Floor("prefixes", "ttft_p90_ms", 1 / 5, 1 / 20, "direct", "ratio"),
    Floor("prefixes", "busiest", 1.3, 1.15),
)

Median = Callable[[str, str, str], float | None]


def lines(rows: list[Row]) -> Iterator[str]:
    """Yield a table for each measure, and one of the floors."""
    median = _medians(rows)
    for measure in dict.fromkeys(row.measure for row in rows):
        yield from _table(measure, [row for row in rows if row.measure == measure], median)
        yield ""
    reached = [cells for floor in FLOORS if (cells := _floor(floor, median)) is not None]
    if reached:
        yield from columns(("MEASURE", "FIGURE", "OURS", "FLOOR", "AMBITION", ""), reached)


def _medians(rows: list[Row]) -> Median:
    def median(measure: str, gateway: str, figure: str) -> float | None:
        found = [
            value
            for row in rows
            if (row.measure, row.gateway) == (measure, gateway)
            and (value := row.figures.get(figure)) is not None
        ]
        return statistics.median(found) if found else None

    return median


def _table(measure: str, rows: list[Row], median: Median) -> Iterator[str]:
    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    head = [measure.upper()]
    for name in names:
        head += [name.replace("_", " "), "ours/its"]
    cells: list[list[str]] = []
    for gateway in dict.fromkeys(row.gateway for row in rows):
        line = [gateway]
        for name in names:
            its, ours = median(measure, gateway, name), median(measure, OURS, name)
            line += [_number(its), _number(ours / its if its and ours is not None else None)]
        wrong = dict.fromkeys(r.errors for r in rows if r.gateway == gateway)
        cells.append([*line, "; ".join(e for e in wrong if e != "none") or "none"])
    yield from columns((*head, "errors and rejects"), cells)


def _floor(floor: Floor, median: Median) -> list[str] | None:
    ours = median(floor.measure, OURS, floor.figure)
    its = median(floor.measure, floor.against, floor.figure) if floor.against else None
    if ours is None or (floor.against and its is None):
        return None
    if its is not None:
        ours = ours / its if floor.how == "ratio" and its else ours - its
    sign = "≥" if floor.least else "≤"

    def met(limit: float) -> bool:
        return ours >= limit if floor.least else ours <= limit

    verdict = "ambition" if met(floor.ambition) else "floor" if met(floor.floor) else "MISSED"
    what = {"value": "", "ratio": f" / {floor.against}'s", "added": f" over {floor.against}'s"}
    return [
        floor.measure,
        floor.figure.replace("_", " ") + what[floor.how],
        _number(ours),
        f"{sign} {_number(floor.floor)}",
        f"{sign} {_number(floor.ambition)}",
        verdict,
    ]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value == 0:
        return "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
