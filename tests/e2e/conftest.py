"""One whole zoo, started as a user starts it, for all end-to-end tests that do not kill it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from services.worker.models.acquire import acquire
from services.worker.models.references import parse_reference
from shared.settings import WorkerSettings, load
from tests.e2e.zoo import Zoo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def demo_model() -> str:
    """The demo model, in the user's cache: fetched and converted if it is not there yet."""
    subprocess.run([sys.executable, "-m", "services.worker.models", "add", "demo"], check=True)
    return "demo"


@pytest.fixture(scope="session")
def demo_folder(demo_model: str) -> Path:
    """Where that is."""
    return acquire(parse_reference(demo_model), load(WorkerSettings), lambda _: None)


@pytest.fixture(scope="session")
def zoo(demo_model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zoo]:
    """A running zoo with the demo model; it logs all that it can."""
    folder = tmp_path_factory.mktemp("zoo")
    with Zoo(folder, "--model", demo_model, LLMZOO_LOG_LEVEL="debug") as running:
        running.wait_until_ready()
        yield running
