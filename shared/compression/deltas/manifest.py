"""`delta.json`: what a delta is, what it was made from, and what must come of it.

    {
      "format": "llmzoo-delta",
      "version": 1,
      "difference": "xor",
      "tensors": {
        "<name in the target>": {
          "dtype": "BF16",              of the target; the delta keeps integers of that width
          "sha256": "<hex>",            of the target's data
          "base": "<name in the base>", or null: the tensor is kept whole
          "base_dtype": "F16", "base_shape": [32000, 4096], "base_sha256": "<hex>"
        }
      },
      "tied": {"lm_head.weight": "model.embed_tokens.weight"}
    }

`tied` are tensors that the target stores twice with the same content, and the delta once. Beside
it lie `delta.safetensors`, or shards with `delta.safetensors.index.json`, with the target's names
and shapes; the target's config, tokenizer and the like; and checksums.json. The shards are not
called `model` so that nothing takes a delta for a model. Owns that format.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson
import torch

from shared.compression.checkpoint.tensors import CODES, DTYPES
from shared.errors import CheckpointDamaged, ModelNotSupported
from shared.model_folder import read_json

MANIFEST = "delta.json"
STEM = "delta"
FORMAT = "llmzoo-delta"
VERSION = 1
_DIFFERENCE = "xor"


@dataclass(frozen=True, slots=True)
class BaseTensor:
    """What a tensor of the base must be."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class DeltaTensor:
    """What becomes of a tensor of the delta; `base` is None where it is kept whole."""

    dtype: torch.dtype
    sha256: str
    base: BaseTensor | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A delta's own account of itself."""

    tensors: dict[str, DeltaTensor]
    tied: dict[str, str]


def format_manifest(manifest: Manifest) -> bytes:
    """Return the content of delta.json."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "difference": _DIFFERENCE,
        "tensors": {name: _entry(tensor) for name, tensor in manifest.tensors.items()},
        "tied": manifest.tied,
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n"


def read_manifest(folder: Path) -> Manifest:
    """Return what delta.json says.

    Raises:
        CheckpointDamaged: it is malformed.
        ModelNotSupported: it is of another format or a later version.
    """
    file = folder / MANIFEST
    content = read_json(file)
    said = (content.get("format"), content.get("version"), content.get("difference"))
    if said != (FORMAT, VERSION, _DIFFERENCE):
        raise ModelNotSupported(
            f"{file} is {said[0]} version {said[1]} ({said[2]}); "
            f"known here is {FORMAT} version {VERSION} ({_DIFFERENCE})"
        )
    name = None
    tensors: dict[str, DeltaTensor] = {}
    try:
        for name, entry in cast("dict[str, Any]", content["tensors"]).items():
            tensors[name] = _tensor(entry)
        tied: dict[str, str] = {**content["tied"]}
    except (KeyError, TypeError, AttributeError) as fault:
        raise CheckpointDamaged("is malformed", file=file, tensor=name) from fault
    return Manifest(tensors, tied)


def _entry(tensor: DeltaTensor) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "dtype": CODES[tensor.dtype],
        "sha256": tensor.sha256,
        "base": None,
    }
    if tensor.base is not None:
        entry |= {
            "base": tensor.base.name,
            "base_dtype": CODES[tensor.base.dtype],
            "base_shape": tensor.base.shape,
            "base_sha256": tensor.base.sha256,
        }
    return entry


def _tensor(entry: dict[str, Any]) -> DeltaTensor:
    base = None
    if entry["base"] is not None:
        base = BaseTensor(
            entry["base"],
            DTYPES[entry["base_dtype"]],
            tuple(entry["base_shape"]),
            entry["base_sha256"],
        )
    return DeltaTensor(DTYPES[entry["dtype"]], entry["sha256"], base)
