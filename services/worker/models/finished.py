"""Which models of the cache are finished, asked of the disk alone.

Owns the reading of the manifests that `store` writes. Imports nothing heavy, so that whoever only
wants to know can ask too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.worker.models.references import WheelModel
from shared.errors import CheckpointDamaged
from shared.model_folder import read_json

MANIFEST = "llmzoo.json"


@dataclass(frozen=True, slots=True)
class StoredModel:
    """One model of the store; `size` in bytes."""

    name: str
    wheel: str
    path: Path
    size: int


def models_folder(cache_dir: Path) -> Path:
    """Return where in the cache the models are."""
    return cache_dir / "models"


def find_model(root: Path, model: WheelModel) -> Path | None:
    """Return the model's folder below `root` if it is there and whole."""
    folder = root / model.folder_name
    manifest = _read_manifest(folder)
    if manifest is None:
        return None
    sizes: dict[str, int] = manifest["files"]
    whole = all(_size(folder / name) == size for name, size in sizes.items())
    return folder if whole else None


def list_models(root: Path) -> list[StoredModel]:
    """Return all finished models below `root`, by name of folder."""
    folders = sorted(root.iterdir()) if root.is_dir() else []
    manifests = [(folder, _read_manifest(folder)) for folder in folders]
    return [
        StoredModel(
            name=manifest["name"],
            wheel=manifest["wheel"],
            path=folder,
            size=sum(manifest["files"].values()),
        )
        for folder, manifest in manifests
        if manifest is not None
    ]


def _size(file: Path) -> int:
    """Return a file's size in bytes, -1 where there is none."""
    try:
        return file.stat().st_size
    except OSError:
        return -1


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest, None where there is none that this version could have written."""
    try:
        manifest = read_json(folder / MANIFEST)
    except CheckpointDamaged:
        return None
    return manifest if manifest.keys() >= {"name", "wheel", "files"} else None
