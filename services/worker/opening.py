"""The one door to a model for the service and for the terminal.

Owns the order: what is missing is fetched first, and what is wrong is told, before torch and
transformers are imported, which takes seconds. Blocks; call it in a thread.
"""

from __future__ import annotations

from services.worker.models.acquire import acquire
from services.worker.models.references import parse_reference
from services.worker.served_model import ServedModel
from shared.heavy_imports import heavy_imports
from shared.progress import ProgressCallback
from shared.settings import WorkerSettings


def open_model(settings: WorkerSettings, report: ProgressCallback) -> ServedModel:
    """Return the model of `settings`, its engine not started yet.

    Raises:
        ModelLoadError: it cannot be had, or this engine cannot run it.
        ConfigurationError: a setting does not fit the model or the machine.
    """
    acquire(parse_reference(settings.model), settings, report)
    with heavy_imports():
        from services.worker import assembly  # noqa: PLC0415 - brings torch

    return assembly.assemble(settings, report)
