"""A model that an image brings is found where it lies, and nothing is written there."""

from __future__ import annotations

import json
from pathlib import Path

from services.worker.models.finished import MANIFEST, find_ready, models_folder
from services.worker.models.references import WheelModel
from shared.settings import WorkerSettings

MODEL = WheelModel("some-model", "1.0")


def put(cache: Path) -> Path:
    folder = models_folder(cache) / MODEL.folder_name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    told = {"name": "some-model", "wheel": "some.whl", "files": {"config.json": 2}}
    (folder / MANIFEST).write_text(json.dumps(told))
    return folder


def test_what_is_shipped_comes_before_the_cache(tmp_path: Path) -> None:
    settings = WorkerSettings(cache_dir=tmp_path / "cache", shipped_models=tmp_path / "shipped")
    assert find_ready(MODEL, settings) is None
    cached = put(tmp_path / "cache")
    assert find_ready(MODEL, settings) == cached
    shipped = put(tmp_path / "shipped")
    assert find_ready(MODEL, settings) == shipped
    assert find_ready(MODEL, WorkerSettings(cache_dir=tmp_path / "cache")) == cached


def test_a_damaged_one_is_none(tmp_path: Path) -> None:
    (put(tmp_path) / "config.json").write_text("{...}")
    assert find_ready(MODEL, WorkerSettings(cache_dir=tmp_path)) is None
