"""Group-wise quantisation of any tensor: one scale for each `group_size` neighbours.

Owns the arithmetic and the form in memory. Knows neither layers nor files. All arithmetic is fp32,
whatever the tensor's dtype, and runs over blocks, so that it needs little more than its result.

With B the largest code, a group of values x is held as (formulas of LLMZoo's `compression.py`):

    symmetric    B = 2^(bits-1) - 1   scale = B / max|x|          code = round(x * scale)
    asymmetric   B = 2^bits - 1       scale = B / (max - min)     code = round((x - min) * scale)

and read back as code / scale (+ min). The last group is filled up with zeros. Scales are fp32.
With 5 bits and more the minimum is fp32 too. With fewer bits codes are unsigned and share bytes,
and in place of the minimum a `zero` is kept: the value of the middle code, which is small where
weights lie around 0, so that bfloat16 holds it to a few thousandths of a step:

    value = (code - 2^(bits-1)) / scale + zero

That is 0.531 byte a weight with 4 bits in groups of 128, and 0.547 in asymmetric mode.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from shared.compression.bit_packing import codes_per_byte, pack, unpack
from shared.errors import ConfigurationError, WeightNotFinite

# Values worked on at once: a few arrays of 2 MiB in fp32, still in a shared cache.
BLOCK_VALUES = 1 << 19


@dataclass(frozen=True, slots=True)
class CompressionConfig:
    """How to quantise: `group_dim` is the dimension cut into groups (1: a Linear's input)."""

    num_bits: int = 8
    group_size: int = 256
    group_dim: int = 1
    symmetric: bool = True

    def __post_init__(self) -> None:
        """Refuse what has no meaning.

        Raises:
            ConfigurationError: bits outside of 2..8, or a group that fills no whole byte.
        """
        if not 2 <= self.num_bits <= 8:  # noqa: PLR2004 - bits
            raise ConfigurationError(f"num_bits must be from 2 to 8, not {self.num_bits}")
        per_byte = codes_per_byte(self.num_bits)
        if self.group_size < 1 or self.group_size % per_byte:
            msg = f"group_size must be a positive multiple of {per_byte}, not {self.group_size}"
            raise ConfigurationError(msg)

    @property
    def packed(self) -> bool:
        """Whether codes share bytes, and so are unsigned around a middle code."""
        return codes_per_byte(self.num_bits) > 1

    @property
    def middle(self) -> int:
        """The code that stands for `zero` when codes are packed."""
        return 1 << (self.num_bits - 1)


@dataclass(frozen=True, slots=True)
class CompressedTensor:
    """A quantised tensor; the dimension with the groups comes last in all three tensors.

    Attributes:
        codes: [..., bytes], int8 or uint8; a group's codes follow each other.
        scale: [..., groups], fp32; a code divided by it is a value.
        zero: [..., groups]; fp32 minimum, or bf16 value of the middle code; None if symmetric.
        shape: of the tensor that was compressed.
        dtype: of the tensor that was compressed.
        config: how it was compressed.
    """

    codes: Tensor
    scale: Tensor
    zero: Tensor | None
    shape: torch.Size
    dtype: torch.dtype
    config: CompressionConfig

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales and minima."""
        return (
            self.codes.nbytes + self.scale.nbytes + (0 if self.zero is None else self.zero.nbytes)
        )


def compress(
    tensor: Tensor, config: CompressionConfig | None = None, *, name: str = "tensor"
) -> CompressedTensor:
    """Quantise a floating-point tensor of one dimension or more; `name` is for messages.

    Raises:
        ConfigurationError: the tensor has no dimension `group_dim`, or holds no floats.
        WeightNotFinite: it holds NaN or infinity, or an asymmetric group spans more than fp32.
    """
    config = config or CompressionConfig()
    if not tensor.is_floating_point():
        raise ConfigurationError(f"{name} holds {tensor.dtype}, not floating-point values")
    if not -tensor.ndim <= config.group_dim < tensor.ndim:
        raise ConfigurationError(f"{name} has no dimension {config.group_dim} to group")
    lines = tensor.detach().movedim(config.group_dim, -1)
    lead, length = lines.shape[:-1], lines.shape[-1]
    groups = -(-length // config.group_size)
    width = groups * config.group_size // codes_per_byte(config.num_bits)
    code_type = torch.int8 if config.symmetric and not config.packed else torch.uint8
    rows = lead.numel()
    codes = torch.empty(rows, width, dtype=code_type, device=tensor.device)
    scale = torch.empty(rows, groups, dtype=torch.float32, device=tensor.device)
    zero = None
    if not config.symmetric:
        zero = torch.empty_like(scale, dtype=torch.bfloat16 if config.packed else torch.float32)
    flat = lines.reshape(rows, length)
    for block in blocks(rows, length):
        values = _padded(flat[block].float(), groups * config.group_size)
        part = _quantise(values.view(len(values), groups, config.group_size), config, name)
        codes[block] = pack(part[0].flatten(1), config.num_bits)
        scale[block] = part[1]
        if zero is not None and part[2] is not None:
            zero[block] = part[2]
    return CompressedTensor(
        codes.view(*lead, width),
        scale.view(*lead, groups),
        None if zero is None else zero.view(*lead, groups),
        tensor.shape,
        tensor.dtype,
        config,
    )


def decompress(compressed: CompressedTensor, config: CompressionConfig | None = None) -> Tensor:
    """Return the values in the shape and dtype of what was compressed.

    Raises:
        ConfigurationError: `config` is given and is not the one used to compress.
    """
    if config is not None and config != compressed.config:
        raise ConfigurationError(f"compressed with {compressed.config}, not with {config}")
    config = compressed.config
    lead, length = _lead_and_length(compressed)
    rows = lead.numel()
    flat = torch.empty(rows, length, dtype=compressed.dtype, device=compressed.codes.device)
    codes = compressed.codes.view(rows, compressed.codes.shape[-1])
    scale = compressed.scale.view(rows, compressed.scale.shape[-1])
    zero = None if compressed.zero is None else compressed.zero.view_as(scale)
    for block in blocks(rows, length):
        values = dequantise(
            codes[block], scale[block], None if zero is None else zero[block], config
        )
        flat[block] = values[:, :length].to(compressed.dtype)
    return flat.view(*lead, length).movedim(-1, config.group_dim).contiguous()


def dequantise(
    codes: Tensor, scale: Tensor, zero: Tensor | None, config: CompressionConfig
) -> Tensor:
    """Return fp32 values [rows, groups * group_size] of `codes` [rows, bytes]."""
    values = unpack(codes, config.num_bits).float()
    values = values.view(codes.shape[0], scale.shape[1], config.group_size)
    if config.packed:
        values -= config.middle
    values /= scale.unsqueeze(-1)
    if zero is not None:
        values += zero.float().unsqueeze(-1)
    return values.flatten(1)


def blocks(rows: int, length: int) -> Iterator[slice]:
    """Cut `rows` rows of `length` values into slices of about `BLOCK_VALUES` values."""
    step = max(1, BLOCK_VALUES // max(1, length))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _lead_and_length(compressed: CompressedTensor) -> tuple[torch.Size, int]:
    """Return the dimensions before the grouped one, and the grouped one's length."""
    shape = list(compressed.shape)
    length = shape.pop(compressed.config.group_dim)
    return torch.Size(shape), length


def _padded(values: Tensor, length: int) -> Tensor:
    missing = length - values.shape[-1]
    return torch.nn.functional.pad(values, (0, missing)) if missing else values.contiguous()


def _quantise(
    values: Tensor, config: CompressionConfig, name: str
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return codes like `values` [rows, groups, group_size], scales and zeros [rows, groups]."""
    if config.symmetric:
        top = config.middle - 1
        scale = _scale(top, values.abs().amax(-1), name)
        codes = (values * scale.unsqueeze(-1)).clamp_(-top, top).round_().to(torch.int8)
        return _from_middle(codes, config) if config.packed else codes, scale, None
    low, high = values.amin(-1), values.amax(-1)  # each is vectorised, torch.aminmax is not
    top = (1 << config.num_bits) - 1
    scale = _scale(top, high - low, name)
    if config.packed:
        scale, zero = _around_middle(low, high, scale, config)
        codes = (values - zero.float().unsqueeze(-1)).mul_(scale.unsqueeze(-1))
        codes = codes.clamp_(-config.middle, config.middle - 1).round_().to(torch.int8)
        return _from_middle(codes, config), scale, zero
    codes = (values - low.unsqueeze(-1)).mul_(scale.unsqueeze(-1)).clamp_(0, top).round_()
    return codes.to(torch.uint8), scale, low


def _from_middle(codes: Tensor, config: CompressionConfig) -> Tensor:
    """Return unsigned codes of int8 ones that count from the middle code, in their memory."""
    return codes.add_(config.middle).view(torch.uint8)


def _scale(top: int, extent: Tensor, name: str) -> Tensor:
    """Return top / extent: 1 where there is no extent, and never more than fp32 holds."""
    if extent.numel() and not math.isfinite(float(extent.max())):  # NaN is the largest of all
        raise WeightNotFinite(name)
    scale = (top / extent).clamp_(max=torch.finfo(torch.float32).max)
    return scale.masked_fill_(extent == 0, 1.0)


def _around_middle(
    low: Tensor, high: Tensor, scale: Tensor, config: CompressionConfig
) -> tuple[Tensor, Tensor]:
    """Return scale and bf16 zero so that the codes reach `low` and `high`.

    Where a group lies far from 0 for its extent, bf16 misses the middle by a good part of a step:
    there the step is widened until both ends are in reach. A constant group becomes exact so, as
    one end code is then the whole difference between the constant and its bf16 rounding.
    """
    middle, last = config.middle, (1 << config.num_bits) - 1 - config.middle
    extent = high - low
    centre = low + middle * (extent / (middle + last))
    zero = centre.to(torch.bfloat16)
    missed = (centre - zero.float()).abs_() * scale > 0.25  # noqa: PLR2004 - of a step
    missed |= extent == 0
    if bool(missed.any()):  # seldom: weights lie around 0
        exact = zero[missed].float()
        step = torch.maximum((high[missed] - exact) / last, (exact - low[missed]) / middle)
        smallest = torch.finfo(torch.float32).tiny
        scale[missed] = torch.where(step > smallest, 1 / step, 1.0)
    return scale, zero
