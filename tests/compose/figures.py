"""What was measured, for the summary at the end of the log."""

from __future__ import annotations

FIGURES: dict[str, str] = {}


def note(name: str, value: float, unit: str = "s") -> None:
    """Keep a figure under a name."""
    FIGURES[name] = f"{value:.1f} {unit}"
