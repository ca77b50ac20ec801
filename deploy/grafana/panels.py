"""Panels of Grafana: graphs, single numbers, heat maps, tables.

Owns their JSON, as Grafana 12 reads it. What is not said here is Grafana's default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from deploy.grafana.promql import Query

Json: TypeAlias = dict[str, Any]
Step: TypeAlias = tuple[float, str]
"""From which value on which colour holds."""

SOURCE: Json = {"type": "prometheus", "uid": "prometheus"}


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel without its place; `rest` is what its type adds."""

    kind: str
    title: str
    description: str
    width: int
    height: int
    targets: Sequence[Json]
    rest: Json = field(default_factory=dict[str, Any])

    def as_json(self, number: int, x: int, y: int) -> Json:
        """Return it at a place."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "datasource": SOURCE,
            "targets": list(self.targets),
            **self.rest,
        }


def graph(
    title: str,
    description: str,
    *queries: Query,
    unit: str = "short",
    width: int = 8,
    stacked: bool = False,
    stepped: bool = False,
    top: float | None = None,
    limit: float | None = None,
) -> Panel:
    """Return lines over time, from 0; `limit` draws a red line."""
    custom: Json = {
        "lineInterpolation": "stepAfter" if stepped else "linear",
        "fillOpacity": 25 if stacked else 8,
        "showPoints": "never",
        "stacking": {"mode": "normal" if stacked else "none"},
    }
    defaults: Json = {"unit": unit, "min": 0, "custom": custom}
    if top is not None:
        defaults["max"] = top
    if limit is not None:
        custom["thresholdsStyle"] = {"mode": "line"}
        defaults["thresholds"] = _thresholds([(limit, "red")], "transparent")
    options: Json = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    rest: Json = {"fieldConfig": {"defaults": defaults, "overrides": []}, "options": options}
    return Panel("timeseries", title, description, width, 8, _targets(queries), rest)


def stat(
    title: str,
    description: str,
    expr: str,
    *steps: Step,
    unit: str = "short",
    width: int = 3,
    first: str = "green",
) -> Panel:
    """Return the present number, coloured: `first`, and from each step on by the step."""
    defaults: Json = {
        "unit": unit,
        "noValue": "–",  # noqa: RUF001 - shown to people
        "thresholds": _thresholds(steps, first),
    }
    options: Json = {
        "colorMode": "value",
        "graphMode": "none",
        "reduceOptions": {"calcs": ["lastNotNull"]},
    }
    rest: Json = {"fieldConfig": {"defaults": defaults, "overrides": []}, "options": options}
    targets = _targets([Query(expr)], instant=True)
    return Panel("stat", title, description, width, 4, targets, rest)


def heatmap(
    title: str, description: str, query: Query, *, unit: str = "s", width: int = 8
) -> Panel:
    """Return how a histogram's buckets fill over time."""
    options: Json = {
        "calculate": False,
        "color": {"mode": "scheme", "scheme": "Oranges", "exponent": 0.5, "steps": 64},
        "cellGap": 1,
        "filterValues": {"le": 1e-9},
        "tooltip": {"mode": "single", "yHistogram": True},
        "yAxis": {"unit": unit},
    }
    targets = _targets([query], form="heatmap")
    return Panel("heatmap", title, description, width, 8, targets, {"options": options})


def table(title: str, description: str, expr: str, *, width: int = 8) -> Panel:
    """Return the labels of the series that there are now, a row each."""
    shown = {"id": "organize", "options": {"excludeByName": {"Time": True, "Value": True}}}
    targets = _targets([Query(expr)], form="table", instant=True)
    return Panel("table", title, description, width, 8, targets, {"transformations": [shown]})


def _targets(
    queries: Sequence[Query], *, form: str = "time_series", instant: bool = False
) -> list[Json]:
    return [
        {
            "refId": chr(ord("A") + index),
            "datasource": SOURCE,
            "editorMode": "code",
            "expr": query.expr,
            "legendFormat": query.legend,
            "format": form,
            "instant": instant,
            "range": not instant,
        }
        for index, query in enumerate(queries)
    ]


def _thresholds(steps: Sequence[Step], first: str) -> Json:
    coloured = [{"color": color, "value": value} for value, color in steps]
    return {"mode": "absolute", "steps": [{"color": first, "value": None}, *coloured]}
