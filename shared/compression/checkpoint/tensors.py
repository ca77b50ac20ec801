"""What is known of a tensor without its data, and its data as bytes.

Owns the names that safetensors gives to torch's dtypes. Knows no file format beyond them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

DTYPES: dict[str, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
}
CODES = {dtype: code for code, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor to be written."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        """Return the size of its data in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class TensorInfo(TensorSpec):
    """A tensor in a file; `start` is where its data begins, in bytes from the file's beginning."""

    file: Path
    start: int


def as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """Return the data of a contiguous tensor as a flat uint8 view of the same memory."""
    return tensor.reshape(-1).view(torch.uint8)


def buffer_of(tensor: torch.Tensor) -> memoryview:
    """Return the data of a contiguous CPU tensor as a flat, writable buffer; no copy is made."""
    data: Any = as_bytes(tensor.detach()).numpy()
    return memoryview(data)
