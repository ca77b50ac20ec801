"""What the shipped dashboards ask Prometheus for: every expression, with its variables filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.fakes.command_line import PROJECT

DASHBOARDS = PROJECT / "deploy/grafana/dashboards"
WINDOW, RANGE = "1m", "15m"


@dataclass(frozen=True)
class PanelQuery:
    """One expression of one panel."""

    board: str
    panel: str
    expr: str

    @property
    def needs_gpu(self) -> bool:
        """Whether it has no data without an NVIDIA GPU."""
        return "gpu_" in self.expr

    def __str__(self) -> str:
        return f"{self.board}: {self.panel}: {self.expr}"


def boards() -> dict[str, dict[str, Any]]:
    """Return the dashboards by their files' names."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a dashboard's panels without the headings of its rows."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def panel_queries(window: str = WINDOW) -> Iterator[PanelQuery]:
    """Yield every panel's expressions, for all models and workers; `window` is that of rates."""
    for name, board in boards().items():
        for panel in panels(board):
            for target in panel["targets"]:
                yield PanelQuery(name, panel["title"], filled_in(target["expr"], window))


def other_queries() -> Iterator[PanelQuery]:
    """Yield what is asked for beside the panels: annotations, and the variables' series."""
    for name, board in boards().items():
        for annotation in board["annotations"]["list"]:
            yield PanelQuery(name, annotation["name"], filled_in(annotation["expr"]))
        for variable in board["templating"]["list"]:
            asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert asked is not None, variable
            yield PanelQuery(name, variable["name"], f"count by ({asked[2]}) ({asked[1]})")


def filled_in(expr: str, window: str = WINDOW) -> str:
    """Return the expression as Grafana sends it, with all models and workers chosen."""
    values = {"$__rate_interval": window, "$__range": RANGE, "$model": ".*", "$worker": ".*"}
    for variable, value in values.items():
        expr = expr.replace(variable, value)
    assert not re.search(r"\$[a-z_]", expr), f"an unknown variable in {expr}"
    return expr
