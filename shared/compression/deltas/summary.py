"""What making and applying deltas tell their caller: progress, and what was done.

Owns those two types.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Report = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True, slots=True)
class Summary:
    """A folder that was written; `nbytes` of its tensors' data."""

    folder: Path
    format: str
    tensors: int
    nbytes: int


def report_nothing(_done: int, _total: int) -> None:
    """Show nothing, for callers that have nobody to show it to."""
