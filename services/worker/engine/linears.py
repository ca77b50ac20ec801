"""The model's Linears: fused where one input feeds several, and laid out for this CPU.

Owns which are fused and when they are packed. How a Linear is packed is `shared.compression`'s.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from shared.compression import PackedLinear, Scheme, compress_module
from shared.compression.stored_weight import concatenated


def pack_linears(model: PreTrainedModel) -> None:
    """Pack the Linears of a model that computes in bfloat16 on a CPU; others are left alone.

    No weight loses a bit: it is oneDNN's layout where the CPU has instructions for bfloat16. A
    tied head is packed beside its embedding.
    """
    if model.device.type == "cpu" and model.dtype == torch.bfloat16:
        compress_module(model, Scheme("bf16"), pack_tied=True)


def fuse_linears(module: nn.Module, names: tuple[str, ...], into: str) -> None:
    """Replace Linears that take the same input by one, whose outputs lie one after the other.

    Where they are not all of one kind nothing is replaced.
    """
    parts = [getattr(module, name) for name in names]
    if all(type(part) is nn.Linear for part in parts):
        fused = _fused(cast("list[nn.Linear]", parts))
    elif all(isinstance(part, PackedLinear) for part in parts):
        packed = cast("list[PackedLinear]", parts)
        if len({(part.scheme, part.dtype) for part in packed}) > 1:
            return
        stored = concatenated([part.stored() for part in packed])
        fused = PackedLinear.from_stored(stored, _bias(packed), dtype=packed[0].dtype)
    else:
        return
    for name in names:
        delattr(module, name)
    setattr(module, into, fused)


def _fused(parts: list[nn.Linear]) -> nn.Linear:
    weight = torch.cat([part.weight for part in parts])
    bias = _bias(parts)
    fused = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    fused.weight = nn.Parameter(weight, requires_grad=False)
    fused.bias = cast("Any", None if bias is None else nn.Parameter(bias, requires_grad=False))
    return fused


def _bias(parts: list[Any]) -> torch.Tensor | None:
    """Return the biases one after the other; a part without one has zeros."""
    if all(part.bias is None for part in parts):
        return None
    like = next(part.bias for part in parts if part.bias is not None)
    return torch.cat(
        [like.new_zeros(part.out_features) if part.bias is None else part.bias for part in parts]
    )
