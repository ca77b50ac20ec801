"""What commands that work on weights have in common: they need torch, and they take long.

Owns the sentence for a machine without torch, and the bar.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from services.worker.models.progress import ProgressCallback


@contextmanager
def needs_worker(command: str) -> Generator[None]:
    """Raise ConfigurationError where torch and its kin are not installed."""
    try:
        yield
    except ModuleNotFoundError as fault:
        msg = f"llmzoo {command} needs {fault.name}: pip install 'llmzoo[worker]'"
        raise ConfigurationError(msg) from None


@contextmanager
def progress_shown() -> Generator[ProgressCallback]:
    """Yield what shows progress on stderr, a bar on a terminal."""
    from services.worker.models.progress import shown_on  # noqa: PLC0415

    with shown_on(sys.stderr) as show:
        yield show


def bytes_of(show: ProgressCallback, stage: str) -> Callable[[int, int], None]:
    """Return what shows `done` of `total` bytes of a stage."""
    from services.worker.models.progress import Progress, Stage  # noqa: PLC0415

    return lambda done, total: show(Progress(Stage(stage), done, total))
