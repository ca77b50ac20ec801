"""A packed weight's product and bias in a form that TorchScript can compile.

Owns the choice by the number of rows at each call. What multiplies is chosen before (kernels.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shared.compression.kernels import Kernels


class Multiplication(nn.Module):
    """Rows times one packed weight, its bias, and what follows at once."""

    __jit_unused_properties__ = ("compiles",)

    def __init__(self, kernels: Kernels, bias: Tensor | None) -> None:
        """Take a layer's products; `bias` is of any dtype."""
        super().__init__()
        self._few, self._many, self._many_from = kernels.few, kernels.many, kernels.many_from
        self._bias = _as(bias, kernels.few.dtype)
        self._many_bias = None if kernels.many is None else _as(bias, kernels.many.dtype)

    @property
    def compiles(self) -> bool:
        """Whether TorchScript can compile it: torch's own kernels alone multiply."""
        return self._few.compiles and (self._many is None or self._many.compiles)

    def forward(self, x: Tensor, epilogue: str = "", other: Tensor | None = None) -> Tensor:
        """Return the product, [rows, out], finished by an epilogue (products.py).

        Args:
            x: [rows, in], at least one row, of the dtype that the kernels were chosen for.
            epilogue: silu; add or mul with `other`; or nothing.
            other: [rows, out] of the same dtype.
        """
        # In two conditions, as TorchScript decides the first while it compiles.
        if self._many is not None:  # noqa: SIM102
            if x.shape[0] >= self._many_from:
                rows = x.to(self._many.dtype).contiguous()
                with_other = None if other is None else other.to(rows.dtype)
                return self._many(rows, self._many_bias, epilogue, with_other).to(x.dtype)
        return self._few(x.contiguous(), self._bias, epilogue, other)


def _as(bias: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if bias is None else bias.detach().to(dtype)
