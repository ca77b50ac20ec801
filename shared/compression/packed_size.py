"""How many bytes packing has spared a model in memory. Owns the sum over its packed layers."""

from __future__ import annotations

import torch
from torch import nn

from shared.compression.packed_linear import PackedLinear


def packed_size(model: nn.Module, dtype: torch.dtype) -> tuple[int, int]:
    """Return the bytes of the packed layers as they would be in `dtype`, and as they are."""
    original = packed = 0
    for module in model.modules():
        if isinstance(module, PackedLinear):
            bias = 0 if module.bias is None else module.bias.nbytes
            original += module.in_features * module.out_features * dtype.itemsize + bias
            packed += module.nbytes
    return original, packed
