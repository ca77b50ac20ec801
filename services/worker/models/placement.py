"""Where a model runs and in which precision: what `auto` means on this machine.

Owns the choice of device and dtype. Loads nothing.
"""
# pyright: basic

from __future__ import annotations

import torch

from services.worker.gpus.driver import why_no_cuda
from services.worker.gpus.nvml import Nvml
from shared.compression.kernels import multiplies_bfloat16
from shared.errors import ConfigurationError


def choose_device(asked: str) -> torch.device:
    """Return the device for `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        ConfigurationError: the device that was asked for is not there; never the CPU instead.
    """
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked == "auto":
        return torch.device(next((name for name, there in has.items() if there), "cpu"))
    if not has.get(asked, True):
        why = why_no_cuda(Nvml(), torch.version.cuda) if asked == "cuda" else "this torch has none"
        raise ConfigurationError(f"LLMZOO_DEVICE is {asked!r}, but {why}", param="device")
    return torch.device(asked)


def choose_dtype(asked: str, device: torch.device) -> torch.dtype:
    """Return the dtype for `auto`, `bfloat16`, `float16` or `float32` on `device`."""
    if asked != "auto":
        return {
            "bfloat16": torch.bfloat16,
            "float16": torch.float16,
            "float32": torch.float32,
        }[asked]
    if device.type == "cuda":
        return torch.bfloat16
    if device.type == "cpu" and multiplies_bfloat16():
        return torch.bfloat16
    return torch.float32
