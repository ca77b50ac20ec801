"""What making and applying deltas tell their caller: what was done. Owns that type."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Summary:
    """A folder that was written; `nbytes` of its tensors' data."""

    folder: Path
    format: str
    tensors: int
    nbytes: int
