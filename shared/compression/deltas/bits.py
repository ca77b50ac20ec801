"""The exact difference of two tensors: the exclusive or of their bits.

Subtraction is no way to a delta: in floating point `(t - b) + b` is not `t`, in any dtype. The
exclusive or is its own inverse, is exact for every value, infinities and NaNs too, and costs as
many bytes as the target in whatever dtype that has. Nothing is rounded.
"""

from __future__ import annotations

import hashlib

import torch

from shared.compression.checkpoint.tensors import buffer_of

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def integer_of(dtype: torch.dtype) -> torch.dtype:
    """Return the integer dtype in which the bits of `dtype` are kept."""
    return _INTEGERS[dtype.itemsize]


def xor_with_base(tensor: torch.Tensor, base: torch.Tensor) -> None:
    """Exchange a target for its delta, or a delta for its target, in place.

    A base of another floating dtype is converted to the target's first (rounded to nearest even if
    that is narrower), which is the same on both ways. Rows that the base does not have stay as they
    are, and rows of the base beyond the tensor's are not looked at.

    Args:
        tensor: of the target's dtype; [rows, ...], contiguous.
        base: [rows of its own, ...], else of the same shape.
    """
    integer = integer_of(tensor.dtype)
    bits, base_bits = tensor.view(integer), base.to(tensor.dtype).view(integer)
    if bits.dim() and len(bits) != len(base_bits):
        rows = min(len(bits), len(base_bits))
        bits, base_bits = bits[:rows], base_bits[:rows]
    bits.bitwise_xor_(base_bits)


def digest_of(tensor: torch.Tensor) -> str:
    """Return the SHA-256 of a tensor's data, in hex."""
    return hashlib.sha256(buffer_of(tensor)).hexdigest()
