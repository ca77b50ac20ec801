"""`llmzoo` as a process that meets nothing of the user's own configuration."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
LLMZOO = [sys.executable, "-m", "services.cli"]


def clean_environment(**variables: str) -> dict[str, str]:
    """Return the environment of a user who has set only these variables."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("LLMZOO_", "NO_COLOR"))}
    return {**inherited, "PYTHONPATH": str(PROJECT), **variables}
