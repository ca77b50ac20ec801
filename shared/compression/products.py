"""The products: one class for each way to multiply activations with a packed weight.

Owns the layouts that torch's kernels want and the way back to the stored one. Knows neither which
of them suits a machine nor the module they serve (kernels.py, packed_linear.py).

A product takes rows [n, in], n >= 1, contiguous, of its `dtype`, and a bias of that dtype or None,
and returns [n, out], contiguous. Private operators of torch are used, as it has no public ones for
this. One step calls a product for every layer, so what is the same for all steps is done once.
"""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional

from shared.compression.bit_packing import pack, unpack
from shared.compression.groupwise import BLOCK_VALUES, blocks
from shared.compression.scheme import Scheme
from shared.compression.stored_weight import INT4_MIDDLE, StoredWeight

# torch's bf16 int8 kernel reads and writes beyond its arrays when rows of the weight are no
# multiple of 8 (AVX2) or 16 (AVX512) codes long: it then gives NaN or ends the process.
_INT8_COLUMNS = 16
# torch's int4 layouts are cut into blocks of 16 to 64 output rows.
_INT4_ROWS = 16
_INT4_BLOCK = 64


class Product(Protocol):
    """One weight, ready to be multiplied by rows of `dtype`."""

    name: str
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        ...

    def stored(self) -> StoredWeight:
        """Return the weight as it lies in files, exactly as it was given."""
        ...

    def __call__(self, rows: Tensor, bias: Tensor | None) -> Tensor:
        """Return rows @ weight.T + bias."""
        ...


class Reference:
    """Plain PyTorch on any device: the weight's values come and go in blocks of output rows."""

    name = "reference"

    def __init__(self, stored: StoredWeight, dtype: torch.dtype) -> None:
        self._stored, self.dtype = stored, dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the stored tensors; nothing else is kept."""
        return self._stored.nbytes

    def stored(self) -> StoredWeight:
        """Return the very tensors it was made of."""
        return self._stored

    def __call__(self, rows: Tensor, bias: Tensor | None) -> Tensor:
        """Multiply block by block; sums are fp32 for 16-bit activations on a CPU."""
        out = rows.new_empty(rows.shape[0], self._stored.shape[0])
        wide = rows.float() if rows.device.type == "cpu" and rows.itemsize < 4 else rows  # noqa: PLR2004
        for block in blocks(*self._stored.shape):
            out[:, block] = wide @ self._stored.values(block).to(wide.dtype).t()
        return out if bias is None else out + bias


class PlainProduct:
    """`F.linear` with the stored tensor: bf16 with bf16 on a GPU needs no other layout."""

    name = "linear"

    def __init__(self, stored: StoredWeight, dtype: torch.dtype) -> None:
        self._stored, self.dtype = stored, dtype
        self._weight = stored.weight.to(dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of the stored tensor, which is the one multiplied."""
        return self._weight.nbytes

    def stored(self) -> StoredWeight:
        """Return the very tensor it was made of."""
        return self._stored

    def shares(self, stored: StoredWeight) -> bool:
        """Return whether the stored weight is the very memory that it multiplies."""
        return self._weight is stored.weight

    def __call__(self, rows: Tensor, bias: Tensor | None) -> Tensor:
        """Multiply and add the bias in one call."""
        return functional.linear(rows, self._weight, bias)


class Int8Product:
    """`torch._weight_int8pack_mm`, one scale an output row."""

    name = "int8pack"

    def __init__(self, stored: StoredWeight, dtype: torch.dtype) -> None:
        assert stored.scale is not None
        self._shape, self.dtype = stored.shape, dtype
        self._missing = -stored.shape[1] % _INT8_COLUMNS
        self._weight = stored.weight.contiguous()
        if self._missing:
            self._weight = functional.pad(self._weight, (0, self._missing))
        self._scale = stored.scale.to(dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        return self._weight.nbytes + self._scale.nbytes

    def stored(self) -> StoredWeight:
        """Return the codes without padding; scales are exact in bf16 and fp32."""
        weight = self._weight[:, : self._shape[1]].contiguous()
        return StoredWeight(Scheme("int8"), self._shape, weight, self._scale.float())

    def shares(self, stored: StoredWeight) -> bool:
        """Return whether the stored codes are the very memory that it multiplies."""
        return self._weight is stored.weight

    def __call__(self, rows: Tensor, bias: Tensor | None) -> Tensor:
        """Multiply; the kernel sums in fp32."""
        if self._missing:
            rows = functional.pad(rows, (0, self._missing))
        out = torch._weight_int8pack_mm(rows, self._weight, self._scale)  # noqa: SLF001
        return out if bias is None else out.add_(bias)


class Int4Product:
    """`_weight_int4pack_mm`, in the layout that this CPU or GPU wants."""

    name = "int4pack"

    def __init__(self, stored: StoredWeight, dtype: torch.dtype) -> None:
        assert stored.scale is not None
        self._scheme, self._shape, self.dtype = stored.scheme, stored.shape, dtype
        self._group = stored.scheme.group_size
        self._on_cpu = stored.weight.device.type == "cpu"
        self._multiply = (
            torch._weight_int4pack_mm_for_cpu  # noqa: SLF001
            if self._on_cpu
            else torch._weight_int4pack_mm  # noqa: SLF001
        )
        self._missing = (-stored.shape[1]) % self._group
        self._extra_rows = -stored.shape[0] % _INT4_ROWS
        # Kept beside its rounding in `_factors`, so that saving loses nothing.
        self._scale = None if dtype == torch.float32 else stored.scale
        self._weight = self._lay_out(stored.weight)
        zero = torch.zeros_like(stored.scale) if stored.zero is None else stored.zero.float()
        factors = torch.stack([stored.scale, zero], dim=-1).to(dtype)
        factors = functional.pad(factors, (0, 0, 0, 0, 0, self._extra_rows))
        self._factors = factors.transpose(0, 1).contiguous()

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales and zeros."""
        scale = 0 if self._scale is None else self._scale.nbytes
        return self._weight.nbytes + self._factors.nbytes + scale

    def stored(self) -> StoredWeight:
        """Return the stored tensors; the codes are read back by a product with the identity."""
        rows, _ = self._shape
        scale, zero = self._factors[:, :rows].float().unbind(-1)
        return StoredWeight(
            self._scheme,
            self._shape,
            pack(self._codes()[:rows], 4),
            scale.t().contiguous() if self._scale is None else self._scale,
            None if self._scheme.symmetric else zero.t().to(torch.bfloat16).contiguous(),
        )

    def __call__(self, rows: Tensor, bias: Tensor | None) -> Tensor:
        """Multiply; the kernel sums in fp32."""
        if self._missing:
            rows = functional.pad(rows, (0, self._missing))
        out = self._multiply(rows, self._weight, self._group, self._factors)
        if self._extra_rows:
            out = out[:, : self._shape[0]].contiguous()
        return out if bias is None else out.add_(bias)

    def _lay_out(self, packed: Tensor) -> Tensor:
        packed = functional.pad(packed, (0, 0, 0, self._extra_rows))
        if not self._on_cpu:
            tiles = next(tiles for tiles in (8, 4, 2, 1) if packed.shape[1] % (8 * tiles) == 0)
            return torch.ops.aten._convert_weight_to_int4pack(packed, tiles)  # noqa: SLF001
        step = max(_INT4_BLOCK, BLOCK_VALUES // packed.shape[1] // _INT4_BLOCK * _INT4_BLOCK)
        out = torch.empty_like(packed)
        for start in range(0, packed.shape[0], step):
            codes = unpack(packed[start : start + step], 4).to(torch.int32)
            out[start : start + step] = cast(
                "Tensor",
                torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1),  # noqa: SLF001
            )
        return out

    def _codes(self) -> Tensor:
        """Return uint8 codes [rows, columns]: what unit vectors pick, scaled by 1 around 0."""
        columns = self._shape[1] + self._missing
        rows = self._factors.shape[1]
        factors = torch.zeros_like(self._factors)
        factors[..., 0] = 1
        codes = torch.empty(rows, columns, dtype=torch.uint8, device=self._weight.device)
        for block in blocks(columns, rows):
            units = torch.zeros(
                block.stop - block.start, columns, dtype=self.dtype, device=self._weight.device
            )
            units[:, block].fill_diagonal_(1)
            picked = self._multiply(units, self._weight, self._group, factors)
            codes[:, block] = (picked + INT4_MIDDLE).t().to(torch.uint8)
        return codes


class PrepackedProduct:
    """oneDNN's product with a weight in oneDNN's own layout: bf16, or fp32 for a copy."""

    name = "prepacked"

    def __init__(self, stored: StoredWeight, dtype: torch.dtype) -> None:
        self._scheme, self._shape, self.dtype = stored.scheme, stored.shape, dtype
        self._multiply = torch.ops.mkldnn._linear_pointwise.default  # noqa: SLF001
        values = torch.empty(stored.shape, dtype=dtype)
        if stored.weight.dtype == dtype:
            values = stored.weight
        else:
            for block in blocks(*stored.shape):
                values[block] = stored.values(block).to(dtype)
        self._weight = cast("Tensor", torch.ops.mkldnn._reorder_linear_weight(values, 1))  # noqa: SLF001
        self.nbytes = values.nbytes

    def stored(self) -> StoredWeight:
        """Return the weight in rows; only for the bf16 scheme, whose values it holds."""
        weight = self._weight.to_dense().to(torch.bfloat16)
        return StoredWeight(self._scheme, self._shape, weight)

    def __call__(self, rows: Tensor, bias: Tensor | None) -> Tensor:
        """Multiply and add the bias in one call."""
        return cast("Tensor", self._multiply(rows, self._weight, bias, "none", [], ""))

    def silu(self, rows: Tensor, bias: Tensor | None) -> Tensor:
        """Return silu of the product, in one call."""
        return cast("Tensor", self._multiply(rows, self._weight, bias, "swish", [], ""))

    def combined(self, rows: Tensor, other: Tensor, bias: Tensor | None, how: str) -> Tensor:
        """Return the product added to, or multiplied with (`how`: add, mul), `other` [n, out]."""
        binary = torch.ops.mkldnn._linear_pointwise.binary  # noqa: SLF001
        return cast("Tensor", binary(rows, other, self._weight, bias, how))
