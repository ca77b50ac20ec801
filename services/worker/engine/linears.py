"""The model's Linears: fused where one input feeds several, and laid out for this CPU.

Owns which are fused and when they are packed. How a Linear is packed is `shared.compression`'s.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from shared.compression import (
    Multiplication,
    PackedLinear,
    Scheme,
    compress_module,
    finished,
)
from shared.compression.stored_weight import concatenated


def pack_linears(model: PreTrainedModel) -> None:
    """Pack the Linears of a model that computes in bfloat16 on a CPU; others are left alone.

    No weight loses a bit: it is oneDNN's layout where the CPU has instructions for bfloat16. A
    tied head is packed beside its embedding.
    """
    if model.device.type == "cpu" and model.dtype == torch.bfloat16:
        compress_module(model, Scheme("bf16"), pack_tied=True)


def fuse_linears(
    module: nn.Module, names: tuple[str, ...], into: str, order: torch.Tensor | None = None
) -> None:
    """Replace Linears that take the same input by one, whose outputs lie one after the other.

    Where they are not all of one kind, one stands for them that asks each.

    Args:
        module: what holds them, changed in place.
        names: of the Linears.
        into: the name of the new one.
        order: int64 [outputs], which of the outputs comes where; None: as they are.
    """
    parts = [getattr(module, name) for name in names]
    fused: nn.Module
    if all(type(part) is nn.Linear for part in parts):
        fused = _fused(parts, order)
    elif all(isinstance(part, PackedLinear) for part in parts) and _alike(parts):
        stored = concatenated([part.stored() for part in parts], order)
        fused = PackedLinear.from_stored(stored, _bias(parts, order), dtype=parts[0].dtype)
    else:
        fused = _Beside(parts, order)
    for name in names:
        delattr(module, name)
    setattr(module, into, fused)


class Multiplied(nn.Module):
    """Any Linear, to be called as a packed one's multiplication is."""

    # TorchScript would compile it.
    __jit_unused_properties__ = ("compiles",)

    def __init__(self, linear: nn.Module) -> None:
        """Take the Linear."""
        super().__init__()
        self._linear = linear

    @property
    def compiles(self) -> bool:
        """Whether TorchScript can compile it."""
        return type(self._linear) is nn.Linear

    def forward(
        self, x: torch.Tensor, epilogue: str = "", other: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return linear(x), finished by an epilogue: silu, add or mul with `other`, or nothing."""
        return finished(self._linear(x), epilogue, other)


def multiplication(linear: nn.Module) -> Multiplication | Multiplied:
    """Return what computes a Linear with an epilogue."""
    return linear.multiplication() if isinstance(linear, PackedLinear) else Multiplied(linear)


def _alike(parts: list[PackedLinear]) -> bool:
    return len({(part.scheme, part.dtype) for part in parts}) == 1


def _fused(parts: list[nn.Linear], order: torch.Tensor | None) -> nn.Linear:
    weight = torch.cat([part.weight for part in parts])
    weight = weight if order is None else weight[order]
    bias = _bias(parts, order)
    fused = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    fused.weight = nn.Parameter(weight, requires_grad=False)
    fused.bias = cast("Any", None if bias is None else nn.Parameter(bias, requires_grad=False))
    return fused


class _Beside(nn.Module):
    """Linears that could not be fused."""

    def __init__(self, parts: list[nn.Module], order: torch.Tensor | None) -> None:
        super().__init__()
        self._parts = nn.ModuleList(parts)
        self._order = order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return their outputs one after the other."""
        out = torch.cat([part(x) for part in self._parts], dim=-1)
        return out if self._order is None else out[..., self._order]


def _bias(parts: list[Any], order: torch.Tensor | None) -> torch.Tensor | None:
    """Return the biases one after the other; a part without one has zeros."""
    if all(part.bias is None for part in parts):
        return None
    like = next(part.bias for part in parts if part.bias is not None)
    bias = torch.cat(
        [like.new_zeros(part.out_features) if part.bias is None else part.bias for part in parts]
    )
    return bias if order is None else bias[order]
