"""A layer's packed weight as it lies in files: the same on every machine.

Owns the stored tensors of the three schemes, how they are made and what values they stand for.
Knows no kernel; a kernel may keep another layout and must give this one back.

    bf16   weight [out, in] bf16
    int8   weight [out, in] int8, weight_scale [out] fp32        value = code * scale
    int4   weight [out, bytes] uint8, two codes to a byte, inputs filled up to whole groups;
           weight_scale [out, groups] fp32                       value = (code - 8) * scale + zero
           weight_zero [out, groups] bf16, only if asymmetric

An int8 scale is rounded up to a bfloat16 number before the codes are made. So the kernels, which
want the scale in the activations' dtype, compute with the very same values in fp32 and bf16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shared.compression.bit_packing import unpack
from shared.compression.groupwise import (
    CompressedTensor,
    CompressionConfig,
    blocks,
    compress,
    decompress,
)
from shared.compression.scheme import Scheme
from shared.errors import ModelNotSupported, WeightNotFinite

WEIGHT, SCALE, ZERO = "weight", "weight_scale", "weight_zero"
INT4_MIDDLE = 8
_INT8_TOP = 127


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """One Linear's weight; `shape` is (out, in) before padding."""

    scheme: Scheme
    shape: tuple[int, int]
    weight: Tensor
    scale: Tensor | None = None
    zero: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by the names they have in a state dict."""
        named = {WEIGHT: self.weight, SCALE: self.scale, ZERO: self.zero}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def to(self, device: torch.device) -> StoredWeight:
        """Return it on another device."""
        return _build(
            self.scheme, self.shape, {name: t.to(device) for name, t in self.tensors().items()}
        )

    def values(self, rows: slice = slice(None)) -> Tensor:
        """Return fp32 values [rows, in] of some output rows."""
        weight = self.weight[rows]
        if self.scale is None:
            return weight.float()
        if self.scheme.kind == "int8":
            return weight.float() * self.scale[rows].unsqueeze(-1)
        scale = self.scale[rows].unsqueeze(-1)
        values = unpack(weight, 4).float().sub_(INT4_MIDDLE)
        values = values.view(weight.shape[0], scale.shape[1], self.scheme.group_size).mul_(scale)
        if self.zero is not None:
            values += self.zero[rows].float().unsqueeze(-1)
        return values.flatten(1)[:, : self.shape[1]]


def tensor_specs(
    scheme: Scheme, shape: tuple[int, int]
) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Return shape and dtype of each stored tensor of a layer of `shape` (out, in)."""
    rows, columns = shape
    if scheme.kind == "bf16":
        return {WEIGHT: (shape, torch.bfloat16)}
    if scheme.kind == "int8":
        return {WEIGHT: (shape, torch.int8), SCALE: ((rows,), torch.float32)}
    groups = -(-columns // scheme.group_size)
    specs: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        WEIGHT: ((rows, groups * scheme.group_size // 2), torch.uint8),
        SCALE: ((rows, groups), torch.float32),
    }
    if not scheme.symmetric:
        specs[ZERO] = ((rows, groups), torch.bfloat16)
    return specs


def stored_from(
    scheme: Scheme, shape: tuple[int, int], tensors: Mapping[str, Tensor], *, name: str = "weight"
) -> StoredWeight:
    """Check tensors read from a file and return them as a weight; `name` is for messages.

    Raises:
        ModelNotSupported: a tensor is missing or has another shape or dtype; it is named.
    """
    for part, (part_shape, dtype) in tensor_specs(scheme, shape).items():
        tensor = tensors.get(part)
        if tensor is None:
            raise ModelNotSupported(f"{name}: {part} is missing for {scheme}")
        if tuple(tensor.shape) != part_shape or tensor.dtype != dtype:
            msg = (
                f"{name}: {part} is {tuple(tensor.shape)} {tensor.dtype}, "
                f"but {scheme} of {shape} needs {part_shape} {dtype}"
            )
            raise ModelNotSupported(msg)
    return _build(scheme, shape, tensors)


def concatenated(parts: Sequence[StoredWeight], order: Tensor | None = None) -> StoredWeight:
    """Return weights of one scheme and one number of inputs as one, outputs after outputs.

    `order`, int64 [outputs], says which of all outputs comes where.
    """
    first = parts[0]
    tensors = {name: torch.cat([p.tensors()[name] for p in parts]) for name in first.tensors()}
    if order is not None:
        tensors = {name: tensor[order] for name, tensor in tensors.items()}
    shape = sum(part.shape[0] for part in parts), first.shape[1]
    return _build(first.scheme, shape, tensors)


def quantise(weight: Tensor, scheme: Scheme, *, name: str = "weight") -> StoredWeight:
    """Pack a weight [out, in] of any floating dtype.

    Raises:
        WeightNotFinite: it holds NaN or infinity; `name` is in the message.
    """
    weight = weight.detach()
    shape = (weight.shape[0], weight.shape[1])
    if scheme.kind == "int4":
        config = CompressionConfig(4, scheme.group_size, 1, scheme.symmetric)
        return from_compressed(compress(weight, config, name=name))
    if scheme.kind == "int8":
        return _int8(weight, name)
    for block in blocks(*shape):
        if not bool(torch.isfinite(weight[block]).all()):
            raise WeightNotFinite(name)
    return StoredWeight(scheme, shape, weight.to(torch.bfloat16).contiguous())


def from_compressed(compressed: CompressedTensor, *, name: str = "weight") -> StoredWeight:
    """Take over a weight quantised group by group along its inputs.

    With 4 bits the codes stay as they are. 8-bit groups are quantised again, one scale a channel,
    since no kernel knows groups of int8: that adds the channel's error to the group's.

    Raises:
        ModelNotSupported: the tensor is not a Linear's, or has another number of bits.
    """
    config, rank = compressed.config, len(compressed.shape)
    if rank != 2 or config.group_dim % rank != 1 or config.num_bits not in (4, 8):  # noqa: PLR2004
        raise ModelNotSupported(f"{name}: no layer can be made of {config} of rank {rank}")
    if config.num_bits == 8:  # noqa: PLR2004 - bits
        return _int8(decompress(compressed), name)
    scheme = Scheme("int4", config.group_size, config.symmetric)
    shape = (compressed.shape[0], compressed.shape[1])
    return StoredWeight(
        scheme, shape, compressed.codes, compressed.scale.reciprocal(), compressed.zero
    )


def _int8(weight: Tensor, name: str) -> StoredWeight:
    rows, columns = weight.shape
    codes = torch.empty(rows, columns, dtype=torch.int8, device=weight.device)
    scale = torch.empty(rows, dtype=torch.float32, device=weight.device)
    for block in blocks(rows, columns):
        values = weight[block].float()
        extent = torch.maximum(values.amax(1), -values.amin(1)) if columns else scale[block].zero_()
        if not bool(torch.isfinite(extent).all()):
            raise WeightNotFinite(name)
        step = _up_to_bfloat16((extent / _INT8_TOP).clamp_(min=torch.finfo(torch.float32).tiny))
        codes[block] = (values / step.unsqueeze(-1)).round_().to(torch.int8)
        scale[block] = step
    return StoredWeight(Scheme("int8"), (rows, columns), codes, scale)


def _up_to_bfloat16(positive: Tensor) -> Tensor:
    """Return the next number upwards that bfloat16 holds, so that no code passes 127."""
    bits = positive.contiguous().view(torch.int32)
    return ((bits + 0xFFFF) & ~0xFFFF).view(torch.float32)


def _build(scheme: Scheme, shape: tuple[int, int], tensors: Mapping[str, Tensor]) -> StoredWeight:
    return StoredWeight(scheme, shape, tensors[WEIGHT], tensors.get(SCALE), tensors.get(ZERO))
