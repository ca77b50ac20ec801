"""The products: one class for each way to multiply activations with a packed weight.

Owns the layouts that torch's kernels want and the way back to the stored one. Knows neither which
of them suits a machine nor the module they serve (kernels.py, packed_linear.py).

A product takes rows [n, in], n >= 1, contiguous, of its `dtype`, and a bias of that dtype or None,
and returns [n, out], contiguous. Private operators of torch are used, as it has no public ones for
this. One step calls a product for every layer, so what is the same for all steps is done once, and
TorchScript can compile the call.
"""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
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


class Product(nn.Module):
    """One weight, ready to be multiplied by rows of `dtype`."""

    name = ""
    compiles = True
    """Whether TorchScript can compile `forward`."""
    # What it shall not try to.
    __jit_unused_properties__ = ("nbytes",)

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        raise NotImplementedError

    def stored(self) -> StoredWeight:
        """Return the weight as it lies in files, exactly as it was given."""
        raise NotImplementedError

    def forward(
        self, rows: Tensor, bias: Tensor | None, epilogue: str = "", other: Tensor | None = None
    ) -> Tensor:
        """Return rows @ weight.T + bias, finished by an epilogue.

        Args:
            rows: see above.
            bias: see above.
            epilogue: silu of it; `other` is added (add) or multiplied with it (mul); or nothing.
            other: [n, out], for those that take one.
        """
        raise NotImplementedError


def finished(product: Tensor, epilogue: str, other: Tensor | None) -> Tensor:
    """Return a product after its epilogue, where that is a call of its own; it is changed."""
    if epilogue == "silu":
        return functional.silu(product)
    if other is not None:
        return product.add_(other) if epilogue == "add" else product.mul_(other)
    return product


class Reference(Product):
    """Plain PyTorch on any device: the weight's values come and go in blocks of output rows."""

    name = "reference"
    compiles = False

    def __init__(self, stored: StoredWeight, dtype: torch.dtype) -> None:
        super().__init__(dtype)
        self._stored = stored

    @property
    def nbytes(self) -> int:
        """Bytes of the stored tensors; nothing else is kept."""
        return self._stored.nbytes

    def stored(self) -> StoredWeight:
        """Return the very tensors it was made of."""
        return self._stored

    def forward(
        self, rows: Tensor, bias: Tensor | None, epilogue: str = "", other: Tensor | None = None
    ) -> Tensor:
        """Multiply block by block; sums are fp32 for 16-bit activations on a CPU."""
        out = rows.new_empty(rows.shape[0], self._stored.shape[0])
        wide = rows.float() if rows.device.type == "cpu" and rows.itemsize < 4 else rows  # noqa: PLR2004
        for block in blocks(*self._stored.shape):
            out[:, block] = wide @ self._stored.values(block).to(wide.dtype).t()
        return finished(out if bias is None else out + bias, epilogue, other)


class PlainProduct(Product):
    """`F.linear` with the stored tensor: bf16 with bf16 on a GPU needs no other layout."""

    name = "linear"

    def __init__(self, stored: StoredWeight, dtype: torch.dtype) -> None:
        super().__init__(dtype)
        self._stored = stored
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

    def forward(
        self, rows: Tensor, bias: Tensor | None, epilogue: str = "", other: Tensor | None = None
    ) -> Tensor:
        """Multiply and add the bias in one call."""
        return finished(functional.linear(rows, self._weight, bias), epilogue, other)


class Int8Product(Product):
    """`torch._weight_int8pack_mm`, one scale an output row."""

    name = "int8pack"

    def __init__(self, stored: StoredWeight, dtype: torch.dtype) -> None:
        super().__init__(dtype)
        assert stored.scale is not None
        self._shape = stored.shape
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

    def forward(
        self, rows: Tensor, bias: Tensor | None, epilogue: str = "", other: Tensor | None = None
    ) -> Tensor:
        """Multiply; the kernel sums in fp32."""
        if self._missing:
            rows = functional.pad(rows, (0, self._missing))
        out = torch._weight_int8pack_mm(rows, self._weight, self._scale)  # noqa: SLF001
        return finished(out if bias is None else out.add_(bias), epilogue, other)


class Int4Product(Product):
    """`_weight_int4pack_mm`, in the layout that this CPU or GPU wants."""

    name = "int4pack"

    def __init__(self, stored: StoredWeight, dtype: torch.dtype) -> None:
        super().__init__(dtype)
        assert stored.scale is not None
        self._scheme, self._shape = stored.scheme, stored.shape
        self._group = stored.scheme.group_size
        self._on_cpu = stored.weight.device.type == "cpu"
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

    def forward(
        self, rows: Tensor, bias: Tensor | None, epilogue: str = "", other: Tensor | None = None
    ) -> Tensor:
        """Multiply; the kernel sums in fp32."""
        if self._missing:
            rows = functional.pad(rows, (0, self._missing))
        out = self._multiply(rows, self._factors)
        if self._extra_rows:
            out = out[:, : self._shape[0]].contiguous()
        return finished(out if bias is None else out.add_(bias), epilogue, other)

    def _multiply(self, rows: Tensor, factors: Tensor) -> Tensor:
        if self._on_cpu:
            return torch._weight_int4pack_mm_for_cpu(rows, self._weight, self._group, factors)  # noqa: SLF001
        return torch._weight_int4pack_mm(rows, self._weight, self._group, factors)  # noqa: SLF001

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
            picked = self._multiply(units, factors)
            codes[:, block] = (picked + INT4_MIDDLE).t().to(torch.uint8)
        return codes


class PrepackedProduct(Product):
    """oneDNN's product with a weight in oneDNN's own layout: bf16, or fp32 for a copy."""

    name = "prepacked"

    def __init__(self, stored: StoredWeight, dtype: torch.dtype) -> None:
        super().__init__(dtype)
        self._scheme, self._shape = stored.scheme, stored.shape
        values = torch.empty(stored.shape, dtype=dtype)
        if stored.weight.dtype == dtype:
            values = stored.weight
        else:
            for block in blocks(*stored.shape):
                values[block] = stored.values(block).to(dtype)
        self._weight = cast("Tensor", torch.ops.mkldnn._reorder_linear_weight(values, 1))  # noqa: SLF001

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return self._shape[0] * self._shape[1] * self.dtype.itemsize

    def stored(self) -> StoredWeight:
        """Return the weight in rows; only for the bf16 scheme, whose values it holds."""
        weight = self._weight.to_dense().to(torch.bfloat16)
        return StoredWeight(self._scheme, self._shape, weight)

    def forward(
        self, rows: Tensor, bias: Tensor | None, epilogue: str = "", other: Tensor | None = None
    ) -> Tensor:
        """Multiply, add the bias and do what follows in one call."""
        if other is not None:
            return torch.ops.mkldnn._linear_pointwise(rows, other, self._weight, bias, epilogue)  # noqa: SLF001
        unary = "swish" if epilogue == "silu" else "none"
        return torch.ops.mkldnn._linear_pointwise(rows, self._weight, bias, unary, [], "")  # noqa: SLF001
