"""Which files of a folder are what: shards, their index, pickles, and what travels with a model.

Owns the file names and the refusals of folders that are no safetensors model. Reads JSON only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import orjson

from shared.errors import CheckpointDamaged, ModelNotSupported, ModelNotThere

MODEL = "model"  # the stem of a model's shards
CONFIG = "config.json"
_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx"}
_PICKLES = ("*.bin", "*.pt", "*.pth")


def index_name(stem: str) -> str:
    """Return the name of the index that a folder of several shards has."""
    return f"{stem}.safetensors.index.json"


def shard_names(stem: str, count: int) -> list[str]:
    """Return the names that transformers gives to `count` shards."""
    if count == 1:
        return [f"{stem}.safetensors"]
    return [f"{stem}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def read_weight_map(folder: Path, stem: str = MODEL) -> dict[str, str] | None:
    """Return which shard holds which tensor, None where all are in the one file `<stem>.safetensors`.

    Raises:
        ModelNotThere: no such folder.
        ModelNotSupported: no config.json, no weights, or pickles only.
        CheckpointDamaged: the index is malformed.
    """
    if not folder.is_dir():
        raise ModelNotThere(f"The model folder {folder} does not exist", param="model")
    if not (folder / CONFIG).is_file():
        raise ModelNotSupported(f"{folder} is no model folder: it has no {CONFIG}")
    if (folder / shard_names(stem, 1)[0]).is_file():
        return None
    index = folder / index_name(stem)
    if not index.is_file():
        raise _without_weights(folder, stem)
    weight_map: Any = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointDamaged("the index has no weight_map", file=index)
    for name, file in cast("dict[str, object]", weight_map).items():
        if not isinstance(file, str) or Path(file).name != file:
            raise CheckpointDamaged(f"the index names the file {file!r}", file=index, tensor=name)
    return cast("dict[str, str]", weight_map)


def companions(folder: Path) -> Iterator[Path]:
    """Yield what travels with a model's weights: config, tokenizer, templates, licences, code.

    The paths are relative to `folder`. Weights, indices of weights and hidden files are left out.
    """
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        if hidden or not path.is_file() or path.suffix in _WEIGHTS:
            continue
        if not path.name.endswith(".index.json"):
            yield relative


def read_json(file: Path) -> Mapping[str, Any]:
    """Return the object in a JSON file.

    Raises:
        CheckpointDamaged: unreadable, no JSON, or no object.
    """
    try:
        content: object = orjson.loads(file.read_bytes())
    except OSError as fault:
        raise CheckpointDamaged(f"cannot be read: {fault.strerror}", file=file) from fault
    except orjson.JSONDecodeError as fault:
        raise CheckpointDamaged(f"is no JSON: {fault}", file=file) from fault
    if not isinstance(content, dict):
        raise CheckpointDamaged("is no JSON object", file=file)
    return cast("dict[str, Any]", content)


def _without_weights(folder: Path, stem: str) -> ModelNotSupported:
    pickles = sorted(file.name for pattern in _PICKLES for file in folder.glob(pattern))
    if pickles:
        return ModelNotSupported(
            f"{folder} has pickle weights only ({pickles[0]}), which can run code that is hidden "
            "in them. Save the model as safetensors first."
        )
    return ModelNotSupported(f"{folder} has no weights ({stem}.safetensors)")
