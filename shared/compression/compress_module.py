"""Packing a model that is in memory: every Linear in it becomes a PackedLinear.

Owns which layers are packed, ties between them and the report. Knows no kernel and no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import cast

import torch
from torch import Tensor, nn

from shared.compression.kernels import MemoryBudget
from shared.compression.packed_linear import PackedLinear
from shared.compression.scheme import Scheme
from shared.compression.stored_weight import quantise
from shared.compression.weight_errors import relative_error
from shared.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class LayerReport:
    """What became of one layer.

    Attributes:
        name: as in `named_modules`.
        shape: (out, in).
        bytes_before: of the weight as it was.
        bytes_after: of the weight as stored; the same if it was left alone.
        relative_error: Frobenius norm of the difference over that of the weight.
        scheme: what it was packed to, None if it was left alone.
        skipped: why it was left alone: "skip list" or "tied".
        kernel: what multiplies it for few rows; empty if it was left alone.
    """

    name: str
    shape: tuple[int, int]
    bytes_before: int
    bytes_after: int
    relative_error: float = 0.0
    scheme: Scheme | None = None
    skipped: str = ""
    kernel: str = ""


def compress_module(
    module: nn.Module,
    scheme: Scheme,
    *,
    skip: Iterable[str] = (),
    pack_tied: bool = False,
    dtype: torch.dtype | None = None,
    copy_bytes: int = 0,
) -> list[LayerReport]:
    """Replace the Linears of `module`, one by one, and report on each.

    Only modules of the type `nn.Linear` itself are taken, and transformers' `Conv1D`, whose weight
    lies the other way round; a subclass may compute something else and stays. A layer that stands
    in several places stays one, and two whose weight is the same tensor share the packed one.

    Args:
        module: the model, changed in place; itself no Linear.
        scheme: for every layer.
        skip: patterns like `lm_head` or `*.down_proj`; a layer that matches one is left alone.
        pack_tied: a weight that an embedding uses too (a tied head) is left alone by default. If
            set it is packed in addition: the embedding keeps its own tensor.
        dtype: of the activations, by default that of each weight.
        copy_bytes: memory for prepacked copies, which are faster in large batches; given to the
            layers in their order.

    Raises:
        ConfigurationError: `module` is a Linear itself.
        WeightNotFinite: a weight holds NaN or infinity; layers before it are packed already.
    """
    if is_linear(module):
        msg = "a Linear cannot be replaced inside itself: use PackedLinear.from_linear"
        raise ConfigurationError(msg)
    patterns, copies = tuple(skip), MemoryBudget(copy_bytes)
    tied = set[int]() if pack_tied else _weights_of_others(module)
    reports: list[LayerReport] = []
    for weight_id, layers in _plan(module).items():
        first: PackedLinear | None = None
        for places in layers.values():
            linear = places[0].linear()
            skipped = "tied" if weight_id in tied else ""
            if any(fnmatchcase(place.name, pattern) for place in places for pattern in patterns):
                skipped = "skip list"
            if skipped:
                reports.append(_left_alone(places[0].name, linear, skipped))
                continue
            layer, report = _pack(places[0].name, linear, scheme, dtype, copies)
            if first is not None:
                layer.share(first)
            first = layer
            reports.append(report)
            for place in places:
                setattr(place.parent, place.child, layer)
    return reports


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a Linear stands; it does not hold the Linear, whose memory must go once it is packed."""

    name: str
    parent: nn.Module
    child: str

    def linear(self) -> nn.Module:
        return self.parent.get_submodule(self.child)


def _plan(module: nn.Module) -> dict[int, dict[int, list[_Place]]]:
    """Return the places of each Linear, by the identity of its weight and of itself."""
    plan: dict[int, dict[int, list[_Place]]] = {}
    every = cast("Iterator[tuple[str, nn.Module]]", module.named_modules(remove_duplicate=False))
    for name, child in every:
        if is_linear(child):
            parent, _, own = name.rpartition(".")
            place = _Place(name, module.get_submodule(parent), own)
            plan.setdefault(id(child.weight), {}).setdefault(id(child), []).append(place)
    return plan


def is_linear(module: nn.Module) -> bool:
    """Return whether it is packed: exactly a Linear, or a Conv1D."""
    return type(module) is nn.Linear or is_transposed(module)


def is_transposed(module: nn.Module) -> bool:
    """Whether it is transformers' Conv1D; by name, so that transformers need not be installed."""
    kind = type(module)
    return (kind.__module__, kind.__name__) == ("transformers.pytorch_utils", "Conv1D")


def weight_rows(linear: nn.Module) -> Tensor:
    """Return the weight as [out, in]."""
    weight = cast("Tensor", linear.weight).detach()
    return weight.t() if is_transposed(linear) else weight


def _weights_of_others(module: nn.Module) -> set[int]:
    """Return the identities of parameters that some module other than a Linear uses."""
    return {
        id(parameter)
        for part in module.modules()
        if not is_linear(part)
        for parameter in part.parameters(recurse=False)
    }


def _left_alone(name: str, linear: nn.Module, skipped: str) -> LayerReport:
    weight = weight_rows(linear)
    shape = (weight.shape[0], weight.shape[1])
    return LayerReport(name, shape, weight.nbytes, weight.nbytes, skipped=skipped)


def _pack(
    name: str, linear: nn.Module, scheme: Scheme, dtype: torch.dtype | None, copies: MemoryBudget
) -> tuple[PackedLinear, LayerReport]:
    """Return the packed layer and what packing did to its weight."""
    weight = weight_rows(linear)
    stored = quantise(weight, scheme, name=f"{name}.weight")
    kept = stored.weight.data_ptr() == weight.data_ptr()  # bf16 as it was
    error = 0.0 if kept else relative_error(weight, stored.values)
    layer = PackedLinear.from_stored(
        stored,
        cast("Tensor | None", linear.bias),
        dtype=weight.dtype if dtype is None else dtype,
        copies=copies,
    )
    report = LayerReport(
        name, stored.shape, weight.nbytes, stored.nbytes, error, scheme, kernel=layer.kernel
    )
    return layer, report
