"""The model's Linears, laid out for the kernels of this CPU.

Owns when that is done. How a Linear is packed is `shared.compression`'s.
"""
# pyright: basic
# Torch and transformers are partly untyped.

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel

from shared.compression import PackedLinear, Scheme, compress_module


def pack_linears(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Pack the Linears of a bfloat16 model on a CPU, a tied head too; `dtype` flows between them.

    No weight loses a bit. A CPU with instructions for bfloat16 gets oneDNN's layout. One without
    reads half the bytes of fp32, which is what a step for few rows takes its time for: such
    models compute in fp32 between the Linears, as all else is slower in emulated bfloat16.
    """
    compress_module(model, Scheme("bf16"), pack_tied=True, dtype=torch.bfloat16)
    for module in model.modules():
        if not isinstance(module, PackedLinear):
            for name, weight in module.named_parameters(recurse=False):
                module.register_parameter(name, _as(weight, dtype))


def _as(weight: nn.Parameter, dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(weight.data.to(dtype), requires_grad=False)
