"""A model reference -> a local folder that `services.worker.loading` can load.

Owns which way each kind of reference goes. The one public door of this package; imports neither
torch nor transformers, so that a worker can say `downloading` before it has imported them.
"""

from __future__ import annotations

from pathlib import Path

from services.worker.models.references import HubModel, LocalFolder, ModelReference, WheelModel
from services.worker.models.store import ModelStore
from shared.model_folder import inspect_folder
from shared.progress import ProgressCallback
from shared.settings import WorkerSettings


def acquire(reference: ModelReference, settings: WorkerSettings, report: ProgressCallback) -> Path:
    """Return the folder of the model, after a download where nothing is there yet.

    Raises:
        ModelLoadError: one of its kinds; the message names what to change.
    """
    match reference:
        case LocalFolder(path):
            folder = path
        case HubModel(repo_id):
            # The hub's client takes longer to import than a model in the cache to find.
            from services.worker.models.hub import fetch  # noqa: PLC0415

            folder = fetch(repo_id, allow_pickle=settings.allow_pickle, report=report)
        case WheelModel() as wheel:
            folder = _shipped(wheel, settings.shipped_models)
            folder = folder or ModelStore(settings.cache_dir).ensure(wheel, report)
    inspect_folder(folder, allow_pickle=settings.allow_pickle)
    return folder


def _shipped(wheel: WheelModel, models: Path | None) -> Path | None:
    return None if models is None else ModelStore(models).find(wheel)
