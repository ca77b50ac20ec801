"""The model's Linears, laid out for the kernels of this CPU.

Owns when that is done. How a Linear is packed is `shared.compression`'s.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from shared.compression import Scheme, compress_module


def pack_linears(model: PreTrainedModel) -> None:
    """Pack the Linears of a model that computes in bfloat16 on a CPU; others are left alone.

    No weight loses a bit: it is oneDNN's layout where the CPU has instructions for bfloat16. A
    tied head is packed beside its embedding.
    """
    if model.device.type == "cpu" and model.dtype == torch.bfloat16:
        compress_module(model, Scheme("bf16"), pack_tied=True)
