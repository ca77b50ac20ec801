"""The dimensions in which answers are judged, read from `dimensions.toml`.

Owns the file's shape. How a criterion becomes a prompt is in `judge`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files

_PACKAGE, _FILE = "services.evaluator.judging", "dimensions.toml"


@dataclass(frozen=True, slots=True)
class Dimension:
    """One thing that is measured; `criteria` is what the judge is told to look at."""

    name: str
    criteria: str


def load_dimensions() -> dict[str, Dimension]:
    """Return the dimensions by name."""
    told = tomllib.loads((files(_PACKAGE) / _FILE).read_text(encoding="utf-8"))
    return {name: Dimension(name, table["criteria"].strip()) for name, table in told.items()}
