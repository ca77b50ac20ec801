"""About how much memory a model takes, told from its folder without importing anything heavy.

Owns an estimate, a little above what a worker counts exactly (`worker.models.footprint`) before it
loads. Reads the headers of safetensors files, and no weight.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson

from shared.config_numbers import kv_bytes_per_token, number_of
from shared.errors import CheckpointDamaged
from shared.model_folder import CONFIG, read_json

_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000  # safetensors' own limit
_FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}
_NOT_PACKED = ("embed", "wte", "wpe", "lm_head")
_MATRIX = 2
_BITS_OVERHEAD = 1.15  # scales and zero points
_CONTEXT = ("max_position_embeddings", "max_seq_len", "seq_length", "n_positions")
# `Qwen2.5-7B`, `8x7b`; a name is all there is before the download.
_BILLIONS = re.compile(r"(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![a-z])", re.IGNORECASE)
_MILLIONS = re.compile(r"(\d+)m(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of the weights, and of the keys and values of one whole sequence; 0: not known."""

    weights: int
    sequence: int = 0
    context: int = 0

    @property
    def total(self) -> int:
        """Return what one sequence at a time takes."""
        return self.weights + self.sequence


@dataclass(frozen=True, slots=True)
class Numbers:
    """How numbers lie in memory: bytes of one, and the bits to which matrices are compressed."""

    dtype_bytes: int
    bits: int | None = None


def size_of(files: Sequence[Path], numbers: Numbers, max_model_len: int) -> Size:
    """Return what the model in `files`, all of one folder, takes.

    Raises:
        CheckpointDamaged: config.json or a header is.
    """
    config = read_json(files[0].parent / CONFIG)
    nested: object = config.get("text_config")
    text = {**config, **cast("dict[str, Any]", nested)} if isinstance(nested, dict) else config
    context = max_model_len or number_of(text, _CONTEXT) or 0
    each = kv_bytes_per_token(text, numbers.dtype_bytes) or 0
    weights = sum(_in_memory(file, numbers) for file in files)
    return Size(weights, each * context, context)


def size_by_name(name: str, numbers: Numbers) -> Size | None:
    """Return what a model of this name takes, if the name says how many parameters it has."""
    if found := _BILLIONS.search(name):
        parameters = float(found[2]) * int(found[1] or 1) * 1e9
    elif found := _MILLIONS.search(name):
        parameters = int(found[1]) * 1e6
    else:
        return None
    each = numbers.bits / 8 * _BITS_OVERHEAD if numbers.bits else numbers.dtype_bytes
    return Size(int(parameters * each))


def _in_memory(file: Path, numbers: Numbers) -> int:
    if file.suffix != ".safetensors":
        return file.stat().st_size
    return sum(_tensor_bytes(name, facts, numbers) for name, facts in _header(file))


def _tensor_bytes(name: str, facts: Mapping[str, Any], numbers: Numbers) -> int:
    shape: list[int] = facts["shape"]
    begin, end = facts["data_offsets"]
    if facts["dtype"] not in _FLOATS:
        return int(end - begin)
    packed = len(shape) == _MATRIX and not any(part in name for part in _NOT_PACKED)
    if numbers.bits and packed:
        return int(math.prod(shape) * numbers.bits / 8 * _BITS_OVERHEAD)
    return math.prod(shape) * numbers.dtype_bytes


def _header(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and facts of each tensor in a safetensors file."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
            if length > _LONGEST_HEADER:
                raise CheckpointDamaged("the header's length is beyond measure", file=file)
            header: dict[str, dict[str, Any]] = orjson.loads(stream.read(length))
    except OSError as fault:
        raise CheckpointDamaged(f"cannot be read: {fault.strerror}", file=file) from fault
    except orjson.JSONDecodeError as fault:
        raise CheckpointDamaged("the header is no JSON", file=file) from fault
    yield from ((name, facts) for name, facts in header.items() if name != "__metadata__")
