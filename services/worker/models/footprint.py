"""How much memory a model takes, told before it is loaded: from its config and its files' headers.

Owns the arithmetic. Reads no weight and knows no device. What it tells of the KV cache is that of
attention with keys and values in each layer; for anything else it says that it does not know.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from services.worker.models.packing import LOAD_4BIT, LOAD_8BIT, PackingChoice
from shared.compression.checkpoint.header import read_header
from shared.compression.checkpoint.tensors import TensorInfo
from shared.compression.packing import quantisation_of
from shared.compression.scheme import Scheme
from shared.compression.stored_weight import tensor_specs

# One number of a config, by the names that architectures give it.
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "kv_n_heads")
_WIDTH = ("hidden_size", "n_embd", "n_embed", "d_model")
_VOCABULARY = ("vocab_size",)

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
        whole += (_number(config, _VOCABULARY) or 0) * (_number(config, _WIDTH) or 0) * dtype_bytes
    if quantisation_of(config):
        return Footprint(whole, {}, kv_bytes)
    options = {
        "--load-8bit": _packed(tensors, LOAD_8BIT, dtype_bytes),
        "--load-4bit": _packed(tensors, LOAD_4BIT, dtype_bytes),
    }
    asked = _packed(tensors, packing.scheme, dtype_bytes) if packing.scheme else whole
    smaller = {option: size for option, size in options.items() if size < asked}
    return Footprint(asked, smaller, kv_bytes)


def kv_bytes_per_token(config: Mapping[str, Any], dtype_bytes: int) -> int | None:
    """Return the bytes that a token's keys and values take in all layers; None: not known."""
    layers, heads, width = (_number(config, names) for names in (_LAYERS, _HEADS, _WIDTH))
    if layers is None or heads is None:
        return None
    if rope := config.get("qk_rope_head_dim"):  # DeepSeek's keys, longer than its values
        size = config.get("qk_nope_head_dim", 0) + rope + config.get("v_head_dim", 0)
        return layers * heads * size * dtype_bytes
    head_dim = config.get("head_dim") or (width and width // heads)
    return head_dim and layers * 2 * _kv_heads(config, heads) * head_dim * dtype_bytes


def _kv_heads(config: Mapping[str, Any], heads: int) -> int:
    if config.get("multi_query") and not config.get("new_decoder_architecture"):
        return 1
    attention = config.get("attn_config")  # MPT's
    if isinstance(attention, Mapping):
        config = {**config, **cast("Mapping[str, Any]", attention)}
    return _number(config, _KV_HEADS) or heads


def _number(config: Mapping[str, Any], names: Iterable[str]) -> int | None:
    found = (config.get(name) for name in names)
    return next((number for number in found if isinstance(number, int) and number > 0), None)


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
