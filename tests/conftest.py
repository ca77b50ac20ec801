"""What tests of every tier share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).parents[2] / "shared" / "llmzoo-eval"


@pytest.fixture(scope="session")
def eval_data() -> Path:
    """The folder of real evaluation data, which is no part of the project."""
    folder = Path(os.environ.get("LLMZOO_EVAL_DATA") or _BESIDE)
    if not folder.is_dir():
        pytest.skip(f"no evaluation data at {folder}; LLMZOO_EVAL_DATA names their folder")
    return folder
