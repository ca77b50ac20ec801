"""The product for fp32 arithmetic on a CPU: codes become fp32 in blocks that stay in the cache.

Owns the arithmetic over blocks. torch's int8 and int4 kernels are written for bfloat16 and few
rows: with fp32 activations they take one number at a time and need three to six times as long as
this, and with many rows of bfloat16, on a CPU without instructions for it, twice as long.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from shared.compression.products import Reference, finished

# 2 MiB in fp32, about what a core keeps close; smaller ones cost more in calls.
_BLOCK_VALUES = 1 << 19
_LOW_AND_HIGH_MIDDLE = 0x88


class BlockProduct(Reference):
    """Any scheme; the stored tensors are all that it holds.

    The weight stands on the left, as its blocks have more rows than the activations: MKL then
    needs half the time of `activations @ block.T`.
    """

    name = "blocks"

    @torch.no_grad()
    def forward(
        self, rows: Tensor, bias: Tensor | None, epilogue: str = "", other: Tensor | None = None
    ) -> Tensor:
        """Multiply block by block; sums are fp32."""
        # MKL needs longer for a vector than for a matrix of two columns.
        wide = rows.float().expand(max(2, rows.shape[0]), -1).contiguous()
        out = torch.empty(self._stored.shape[0], wide.shape[0])
        if self._stored.scheme.kind == "int4":
            self._int4(wide, out)
        else:
            self._one_code_a_value(wide, out)
        if bias is not None:
            out += bias.unsqueeze(-1)
        product = out.t()[: rows.shape[0]].to(rows.dtype).contiguous()
        return finished(product, epilogue, other)

    def _one_code_a_value(self, rows: Tensor, out: Tensor) -> None:
        columns = rows.t()
        for block in self._blocks():
            torch.mm(self._stored.weight[block].float(), columns, out=out[block])
        if self._stored.scale is not None:
            out *= self._stored.scale.unsqueeze(-1)

    def _int4(self, rows: Tensor, out: Tensor) -> None:
        """Multiply the even inputs with the high halves of the bytes, the odd with the low."""
        weight, scale, zero = self._stored.weight, self._stored.scale, self._stored.zero
        assert scale is not None
        groups = scale.shape[1]
        rows = functional.pad(rows, (0, 2 * weight.shape[1] - rows.shape[1]))
        even, odd = rows[:, 0::2].contiguous().t(), rows[:, 1::2].contiguous().t()
        for block in self._blocks():
            # Flipping the top bit of a half makes code - 8 of it, in two's complement.
            codes = (weight[block] ^ _LOW_AND_HIGH_MIDDLE).view(torch.int8)
            step = scale[block].unsqueeze(-1)
            high = (codes >> 4).float().view(len(codes), groups, -1).mul_(step).flatten(1)
            low = (codes << 4 >> 4).float().view(len(codes), groups, -1).mul_(step).flatten(1)
            torch.mm(high, even, out=out[block])
            out[block].addmm_(low, odd)
        if zero is not None:
            out.addmm_(zero.float(), rows.view(len(rows), groups, -1).sum(-1).t())

    def _blocks(self) -> Iterator[slice]:
        rows, columns = self._stored.shape
        step = max(1, _BLOCK_VALUES // max(1, columns))
        return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
