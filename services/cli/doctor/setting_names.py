"""The names of all variables that our programs read."""

from __future__ import annotations

from shared.settings import (
    ClientSettings,
    ControllerSettings,
    EvaluatorSettings,
    WebuiSettings,
    WorkerSettings,
    ZooSettings,
)

_ALL_SETTINGS = (
    ControllerSettings,
    WorkerSettings,
    WebuiSettings,
    EvaluatorSettings,
    ClientSettings,
    ZooSettings,
)


def setting_names() -> set[str]:
    """Return the names of all settings, and of the files that they may be read from."""
    names = {f"LLMZOO_{name.upper()}" for shape in _ALL_SETTINGS for name in shape.model_fields}
    return names | {f"{name}_FILE" for name in names}
