"""Codes of 2 to 8 bits in bytes: four, two or one to a byte.

Owns the order inside a byte: the first of neighbours lies highest, as torch's CUDA kernels have
it. Knows no scales.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor


def codes_per_byte(num_bits: int) -> int:
    """Return how many codes of `num_bits` share a byte; 3 bits take the room of 4."""
    if num_bits <= 2:  # noqa: PLR2004 - bits
        return 4
    return 2 if num_bits <= 4 else 1  # noqa: PLR2004 - bits


def pack(codes: Tensor, num_bits: int) -> Tensor:
    """Pack uint8 codes along the last dimension, a multiple of `codes_per_byte` long."""
    width = 8 // codes_per_byte(num_bits)
    while width < 8:  # noqa: PLR2004 - bits of a byte
        codes = _merge(codes, width)
        width *= 2
    return codes


def _merge(codes: Tensor, width: int) -> Tensor:
    """Put each two neighbours of `width` bits into one byte."""
    if sys.byteorder == "big" or not codes.numel():
        return codes[..., 0::2] << width | codes[..., 1::2]
    # Four times as fast as taking every second: the product puts the first of two, which lies in
    # the lower byte, before the second, in the upper one.
    pairs = codes.contiguous().view(torch.int16) * (1 + (1 << (8 + width)))
    return (pairs >> 8).to(torch.uint8)


def unpack(packed: Tensor, num_bits: int) -> Tensor:
    """Return the uint8 codes that `pack` was given."""
    per_byte = codes_per_byte(num_bits)
    if per_byte == 1:
        return packed
    width = 8 // per_byte
    mask = (1 << width) - 1
    shifts = [width * (per_byte - 1 - place) for place in range(per_byte)]
    codes = torch.stack([(packed >> shift) & mask for shift in shifts], dim=-1)
    return codes.flatten(-2)
