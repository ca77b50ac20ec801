"""The product for fp32 activations on a CPU: codes become fp32 in blocks that stay in the cache.

Owns the arithmetic over blocks. torch's int8 and int4 kernels are written for bfloat16; with fp32
activations they take one number at a time and need three to six times as long as this.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from shared.compression.products import Reference
from shared.compression.stored_weight import StoredWeight

# 1 MiB in fp32, about what a core keeps close.
_BLOCK_VALUES = 1 << 18
_LOW_AND_HIGH_MIDDLE = 0x88


class BlockProduct(Reference):
    """Any scheme with fp32 rows; the stored tensors are all that it holds."""

    name = "blocks"

    def __init__(self, stored: StoredWeight, dtype: torch.dtype) -> None:
        assert dtype == torch.float32
        super().__init__(stored)

    def __call__(self, rows: Tensor, bias: Tensor | None) -> Tensor:
        """Multiply block by block."""
        if self._stored.scheme.kind == "int4":
            out = self._int4(rows)
        else:
            out = rows.new_empty(rows.shape[0], self._stored.shape[0])
            for block in self._blocks():
                out[:, block] = rows @ self._stored.weight[block].float().t()
            if self._stored.scale is not None:
                out *= self._stored.scale
        return out if bias is None else out.add_(bias)

    def _int4(self, rows: Tensor) -> Tensor:
        """Multiply the even inputs with the high halves of the bytes, the odd with the low."""
        weight, scale, zero = self._stored.weight, self._stored.scale, self._stored.zero
        assert scale is not None
        groups = scale.shape[1]
        rows = functional.pad(rows, (0, 2 * weight.shape[1] - rows.shape[1]))
        even, odd = rows[:, 0::2].contiguous(), rows[:, 1::2].contiguous()
        out = rows.new_empty(rows.shape[0], weight.shape[0])
        for block in self._blocks():
            # Flipping the top bit of a half makes code - 8 of it, in two's complement.
            codes = (weight[block] ^ _LOW_AND_HIGH_MIDDLE).view(torch.int8)
            step = scale[block].unsqueeze(-1)
            high = (codes >> 4).float().view(len(codes), groups, -1).mul_(step).flatten(1)
            low = (codes << 4 >> 4).float().view(len(codes), groups, -1).mul_(step).flatten(1)
            out[:, block] = torch.addmm(even @ high.t(), odd, low.t())
        if zero is not None:
            out += rows.view(len(rows), groups, -1).sum(-1) @ zero.float().t()
        return out

    def _blocks(self) -> Iterator[slice]:
        rows, columns = self._stored.shape
        step = max(1, _BLOCK_VALUES // max(1, columns))
        return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
