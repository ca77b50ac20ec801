"""A dashboard: rows of panels, variables, and the links to the other ones.

Owns where a panel stands: beside its neighbour while there is room, else below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deploy.grafana.panels import SOURCE, Json, Panel

COLUMNS = 24
SCHEMA = 41
"""Of Grafana 12; newer ones bring it up to date as they read it."""

_TAG = "llmzoo"


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of a dashboard: values of a label, all of them at first."""

    name: str
    label: str
    series: str

    def as_json(self) -> Json:
        """Return it; `.*` stands for all, so that series without the label count too."""
        query = f"label_values({self.series}, {self.name})"
        return {
            "name": self.name,
            "label": self.label,
            "type": "query",
            "datasource": SOURCE,
            "definition": query,
            "query": {"qryType": 1, "query": query, "refId": self.name},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
        }


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard; `name` is its file's."""

    name: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = ()

    def as_json(self) -> Json:
        """Return it as Grafana reads it."""
        return {
            "uid": f"{_TAG}-{self.name}",
            "title": self.title,
            "description": self.description,
            "tags": [_TAG],
            "schemaVersion": SCHEMA,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "links": [_LINKS],
            "templating": {"list": [variable.as_json() for variable in self.variables]},
            "annotations": {"list": [_ALERTS]},
            "panels": list(self._placed()),
        }

    def _placed(self) -> Iterator[Json]:
        number, y = 1, 0
        for row in self.rows:
            yield _heading(row.title, number, y)
            number, x, y, height = number + 1, 0, y + 1, 0
            for panel in row.panels:
                if x + panel.width > COLUMNS:
                    x, y, height = 0, y + height, 0
                yield panel.as_json(number, x, y)
                number, x, height = number + 1, x + panel.width, max(height, panel.height)
            y += height


def _heading(title: str, number: int, y: int) -> Json:
    place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
    heading: Json = {"id": number, "type": "row", "title": title, "gridPos": place}
    return {**heading, "collapsed": False, "panels": []}


# The other dashboards, with the time and the choices taken along.
_LINKS: Json = {
    "type": "dashboards",
    "title": "LLM Zoo",
    "tags": [_TAG],
    "keepTime": True,
    "includeVars": True,
}
_ALERTS: Json = {
    "name": "Alerts",
    "datasource": SOURCE,
    "enable": True,
    "iconColor": "red",
    "expr": 'ALERTS{alertstate="firing"}',
    "titleFormat": "{{alertname}}",
    "textFormat": "{{model}} {{worker}} {{instance}}",
}
