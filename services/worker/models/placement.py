"""Where a model runs and in which precision: what `auto` means on this machine.

Owns the choice of device and dtype. Loads nothing.
"""
# pyright: basic
# torch has no public name for the processor's bfloat16 units.

from __future__ import annotations

import platform

import torch

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
        built = (
            " (this torch is built without it)"
            if asked == "cuda" and not torch.version.cuda
            else ""
        )
        raise ConfigurationError(
            f"LLMZOO_DEVICE is {asked!r}, but torch finds no such device{built}", param="device"
        )
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
    if device.type == "cpu" and _has_bfloat16_kernels():
        return torch.bfloat16
    return torch.float32


def _has_bfloat16_kernels() -> bool:
    """Whether this CPU multiplies bfloat16 itself; emulated, it is slower than float32."""
    if platform.machine() in {"aarch64", "arm64"}:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - no public name
    return bool(
        torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001 - no public name
        or torch.cpu._is_amx_tile_supported()  # noqa: SLF001
    )
