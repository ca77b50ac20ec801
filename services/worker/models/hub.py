"""Fetches a model of the Hugging Face hub into that library's own cache.

Owns which files are asked for, and what the library's failures mean. The library owns cache,
login, mirrors and offline mode (HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE).
"""
# pyright: basic
# The library is partly untyped.

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from tqdm.auto import tqdm

from shared.errors import CheckpointDamaged, ModelDownloadFailed, ModelNotSupported, ModelNotThere
from shared.model_folder import inspect_folder
from shared.progress import Progress, ProgressCallback, Stage

_FILES = ["*.json", "*.jinja", "*.model", "*.txt", "*.py"]
_WEIGHTS = ["*.safetensors"]
_PICKLES = ["*.bin"]
# Copies of the same weights in folders or for other programs.
_NOT = ["*/*", "consolidated*", "training_args.bin"]


def fetch(repo_id: str, *, allow_pickle: bool, report: ProgressCallback) -> Path:
    """Return the folder of the model's newest snapshot; a whole cached one asks no network.

    Raises:
        ModelNotThere: the hub has no such model, or hides it without a login.
        ModelDownloadFailed: not in the cache, and the hub cannot be reached or may not be asked.
    """
    patterns = [*_FILES, *_WEIGHTS, *(_PICKLES if allow_pickle else [])]
    options: dict[str, Any] = {"allow_patterns": patterns, "ignore_patterns": _NOT}
    cached = _cached(repo_id, options, allow_pickle=allow_pickle)
    if cached is not None:
        return cached
    report(Progress(Stage.DOWNLOADING))
    try:
        return Path(snapshot_download(repo_id, tqdm_class=_byte_bar(report), **options))
    except GatedRepoError as fault:
        raise ModelDownloadFailed(
            f"{repo_id} is gated: accept its terms on the hub and log in (`hf auth login`)"
        ) from fault
    except RepositoryNotFoundError as fault:
        raise ModelNotThere(
            f"The hub has no model {repo_id!r}, or it is private and no login is stored",
            param="model",
        ) from fault
    except HFValidationError as fault:
        raise ModelNotThere(f"{repo_id!r} is no hub id: {fault}", param="model") from fault
    except LocalEntryNotFoundError as fault:
        # Its text says which: offline mode is on, or the connection failed.
        raise ModelDownloadFailed(f"{repo_id} is not in the hub's cache. {fault}") from fault
    except (HfHubHTTPError, OSError) as fault:
        raise ModelDownloadFailed(
            f"{repo_id} could not be fetched from the hub: {fault}"
        ) from fault


def _cached(repo_id: str, options: dict[str, Any], *, allow_pickle: bool) -> Path | None:
    try:
        folder = Path(snapshot_download(repo_id, local_files_only=True, **options))
        inspect_folder(folder, allow_pickle=allow_pickle)
    except (LocalEntryNotFoundError, HFValidationError, ModelNotSupported, CheckpointDamaged):
        return None  # an interrupted download, perhaps: the library continues it
    return folder


def _byte_bar(report: ProgressCallback) -> type[tqdm]:
    """Return the class of bar that the library is to use: it draws nothing and reports bytes."""

    class ByteBar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "file": io.StringIO()})

        def update(self, n: float | None = 1) -> bool | None:
            shown = super().update(n)
            # Beside the bytes on disk, the library counts files and bytes on the wire.
            if self.unit == "B" and str(self.desc).startswith("Reconstructing"):
                report(Progress(Stage.DOWNLOADING, int(self.n), int(self.total or 0)))
            return shown

    return ByteBar
