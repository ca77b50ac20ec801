"""How much memory a model takes, told before it is loaded: from its config and its files' headers.

Owns the arithmetic of weights; that of the KV cache is `shared.config_numbers`. Reads no weight and
knows no device.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.worker.models.packing import LOAD_4BIT, LOAD_8BIT, PackingChoice
from shared.compression.checkpoint.header import read_header
from shared.compression.checkpoint.tensors import TensorInfo
from shared.compression.packing import quantisation_of
from shared.compression.scheme import Scheme
from shared.compression.stored_weight import tensor_specs
from shared.config_numbers import (
    VOCABULARY,
    WIDTH,
    kv_bytes_per_token,
    number_of,
)

# Parts of the names of matrices that are not packed: they are no Linears in transformers.
_NOT_PACKED = ("embed", "wte", "wpe", "experts")
_MATRIX = 2  # dimensions
_STORED_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of the weights, as they are asked for and compressed, and of a token's keys and values.

    Attributes:
        weights: as they will be loaded.
        compressed: by the option of the command line, what would be smaller.
        kv_bytes_per_token: of all layers; None: not known.
    """

    weights: int
    compressed: Mapping[str, int]
    kv_bytes_per_token: int | None


def footprint(
    files: Sequence[Path],
    config: Mapping[str, Any],
    packing: PackingChoice,
    *,
    dtype_bytes: int,
    copies_tied_head: bool,
) -> Footprint:
    """Return what the model in `files` takes.

    Args:
        files: its weights, safetensors or pickles.
        config: config.json, with the defaults of its class where it leaves them out.
        packing: whether the weights are packed.
        dtype_bytes: of a number that is not packed, in memory.
        copies_tied_head: whether a head that is tied to its embedding is packed beside it.

    Raises:
        CheckpointDamaged: a header is.
    """
    kv_bytes = kv_bytes_per_token(config, dtype_bytes)
    if any(file.suffix != ".safetensors" for file in files):
        return Footprint(_unpickled(files, config, dtype_bytes), {}, kv_bytes)
    tensors = [tensor for file in files for tensor in read_header(file).tensors]
    whole = sum(_whole(tensor, dtype_bytes) for tensor in tensors)
    if copies_tied_head and config.get("tie_word_embeddings"):
        whole += (
            (number_of(config, VOCABULARY) or 0) * (number_of(config, WIDTH) or 0) * dtype_bytes
        )
    if quantisation_of(config):
        return Footprint(whole, {}, kv_bytes)
    options = {
        "--load-8bit": _packed(tensors, LOAD_8BIT, dtype_bytes),
        "--load-4bit": _packed(tensors, LOAD_4BIT, dtype_bytes),
    }
    asked = _packed(tensors, packing.scheme, dtype_bytes) if packing.scheme else whole
    smaller = {option: size for option, size in options.items() if size < asked}
    return Footprint(asked, smaller, kv_bytes)


def _whole(tensor: TensorInfo, dtype_bytes: int) -> int:
    """Return a tensor's bytes in memory: what floats is cast, codes and masks are not."""
    if not tensor.dtype.is_floating_point:
        return tensor.nbytes
    return math.prod(tensor.shape) * dtype_bytes


def _packed(tensors: Iterable[TensorInfo], scheme: Scheme, dtype_bytes: int) -> int:
    total = 0
    for tensor in tensors:
        matrix = len(tensor.shape) == _MATRIX and tensor.dtype.is_floating_point
        if not matrix or any(part in tensor.name for part in _NOT_PACKED):
            total += _whole(tensor, dtype_bytes)
            continue
        rows, columns = tensor.shape
        stored = tensor_specs(scheme, (rows, columns)).values()
        total += sum(math.prod(shape) * dtype.itemsize for shape, dtype in stored)
    return total


def _unpickled(files: Iterable[Path], config: Mapping[str, Any], dtype_bytes: int) -> int:
    stored = str(config.get("dtype") or config.get("torch_dtype")).removeprefix("torch.")
    size = sum(file.stat().st_size for file in files)
    return size * dtype_bytes // _STORED_BYTES.get(stored, dtype_bytes)
