"""How far a packed weight is from the weight: the figure that reports show.

Owns the relative error, as Frobenius norms, and the errors of all forms side by side. Needs no
second full-size tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from shared.compression.groupwise import blocks, compress, decompress
from shared.compression.scheme import Scheme
from shared.compression.stored_weight import quantise

_GROUPS = (32, 64, 128)
_JUDGED_VALUES = 1 << 20


def relative_error(weight: Tensor, values: Callable[[slice], Tensor]) -> float:
    """Return |values - weight| / |weight|; `values` gives some rows of what a form holds.

    Of a weight with more than about a million entries, blocks of rows evenly spread over it are
    judged, since the judging would take longer than the packing. 0 / 0 is 0: a weight of zeros
    that stays zeros has no error.
    """
    square, total = 0.0, 0.0
    parts = list(blocks(weight.shape[0], weight.shape[1]))
    stride = max(1, round(weight.numel() / _JUDGED_VALUES))
    for block in parts[::stride]:
        exact = weight[block].detach().float().flatten()
        total += float(torch.dot(exact, exact))
        difference = values(block).float().flatten().sub_(exact)
        square += float(torch.dot(difference, difference))
    return math.sqrt(square / total) if total else math.sqrt(square)


def group_256_error(weight: Tensor) -> float:
    """Return the relative error of a weight [out, in] in LLMZoo's storage form, 8 bits."""
    return relative_error(weight, lambda rows: decompress(compress(weight[rows])))


def errors_by_form(weight: Tensor) -> dict[str, float]:
    """Return the relative error of a weight [out, in] in each form, by the form's name.

    `int8 group 256` is LLMZoo's storage form, `int8 per channel` the one that kernels multiply.
    """
    errors = {"int8 group 256": group_256_error(weight)}
    schemes = [Scheme("bf16"), Scheme("int8")]
    schemes += [
        Scheme("int4", group, symmetric) for symmetric in (True, False) for group in _GROUPS
    ]
    for scheme in schemes:
        errors[str(scheme)] = relative_error(weight, quantise(weight, scheme).values)
    return errors
