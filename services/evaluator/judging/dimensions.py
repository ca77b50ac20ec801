"""The dimensions in which answers are judged, read from `dimensions.toml`.

Owns the file's shape. How a criterion becomes a prompt is in `rubric`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from services.evaluator.judging.wording import Language

LOW, HIGH = 1.0, 10.0
"""The scale of the built-in dimensions, which their anchors tell."""

_PACKAGE, _FILE = "services.evaluator.judging", "dimensions.toml"


@dataclass(frozen=True, slots=True)
class Dimension:
    """One thing that is measured, as a judge is told of it in each language."""

    name: str
    criteria: Mapping[Language, str]
    anchors: Mapping[Language, str]
    """What a score means."""


@cache
def load_dimensions() -> dict[str, Dimension]:
    """Return the dimensions by name."""
    told = tomllib.loads((files(_PACKAGE) / _FILE).read_text(encoding="utf-8"))
    return {
        name: Dimension(
            name,
            {language: told[name][language]["criteria"].strip() for language in Language},
            {language: told[name][language]["anchors"].strip() for language in Language},
        )
        for name in told
    }
