"""Which product a packed weight is multiplied with: by device, dtype and number of rows.

Owns this choice, alone, and the check that a kernel computes what the reference does on this
machine. Knows neither modules nor files.
"""
# pyright: reportPrivateUsage=false

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass

import torch

from shared.compression.block_product import BlockProduct
from shared.compression.products import (
    Int4Product,
    Int8Product,
    PlainProduct,
    PrepackedProduct,
    Product,
    Reference,
)
from shared.compression.stored_weight import StoredWeight

# From so many rows on a prepacked copy is faster than the int8 and int4 kernels.
COPY_FROM_ROWS = 16
# A CPU without bf16 instructions multiplies row by row; from here on fp32 blocks are faster.
_WIDEN_FROM_ROWS = {"bf16": 5, "int8": 32}
_INT4_GROUPS = (32, 64, 128, 256)
_PROBE_ROWS = 4
_PROBE_OUTPUTS = 64


@dataclass(slots=True)
class MemoryBudget:
    """Bytes that may still be spent on prepacked copies."""

    left: int = 0

    def take(self, size: int) -> bool:
        """Spend `size` bytes if they are there."""
        if size > self.left:
            return False
        self.left -= size
        return True


@dataclass(frozen=True, slots=True)
class Kernels:
    """The products of one layer.

    Attributes:
        few: for any number of rows.
        reason: why no kernel but plain PyTorch multiplies few rows, else None.
        many: another product for many rows, if there is a better one.
        many_from: number of rows from which `many` serves.
        copy_bytes: memory that `many` takes of the budget for copies.
    """

    few: Product
    reason: str | None
    many: Product | None = None
    many_from: int = COPY_FROM_ROWS
    copy_bytes: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return self.few.nbytes + self.copy_bytes

    def for_rows(self, rows: int) -> Product:
        """Return the fastest product for that many rows of activations."""
        return self.few if self.many is None or rows < self.many_from else self.many


def multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16; emulated, it is slower than float32."""
    # torch has no public names for any of these.
    if platform.machine() in {"aarch64", "arm64"}:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001
    return bool(
        torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001
        or torch.cpu._is_amx_tile_supported()  # noqa: SLF001
    )


def choose(stored: StoredWeight, dtype: torch.dtype, copies: MemoryBudget) -> Kernels:
    """Return the products for activations of `dtype` on the device where the weight lies."""
    few, reason = checked(_fastest(stored, dtype), stored, dtype)
    if stored.weight.device.type != "cpu" or isinstance(few, PrepackedProduct):
        return Kernels(few, reason)
    copy, size = _copy(stored, dtype, copies)
    if copy is not None:
        slow = isinstance(few, Reference)
        return Kernels(few, reason, copy, 1 if slow else COPY_FROM_ROWS, size)
    shared = isinstance(few, Int8Product | PlainProduct) and few.shares(stored)
    if shared and not multiplies_bfloat16():
        blocks = BlockProduct(stored, dtype)
        return Kernels(few, reason, blocks, _WIDEN_FROM_ROWS[stored.scheme.kind])
    return Kernels(few, reason)


def _fastest(stored: StoredWeight, dtype: torch.dtype) -> Callable[[], Product] | str:
    """Return what makes the product for few rows, or why there is none but the reference."""
    device, kind = stored.weight.device.type, stored.scheme.kind
    if device not in {"cpu", "cuda"}:
        return f"no kernels for {device}"
    if dtype not in {torch.float32, torch.bfloat16}:
        return f"no kernels for {dtype}"
    if device == "cpu" and dtype == torch.float32:
        return lambda: BlockProduct(stored, dtype)
    if kind == "int4" and stored.scheme.group_size not in _INT4_GROUPS:
        return f"no kernel for groups of {stored.scheme.group_size}"
    if kind == "bf16":
        product = PrepackedProduct if device == "cpu" else PlainProduct
    else:
        product = Int8Product if kind == "int8" else Int4Product
    return lambda: product(stored, dtype)


def _copy(
    stored: StoredWeight, dtype: torch.dtype, copies: MemoryBudget
) -> tuple[Product | None, int]:
    """Return a prepacked copy of the dequantised weight and its size, if there is room for it."""
    if dtype not in {torch.float32, torch.bfloat16}:
        return None, 0
    wide = dtype if multiplies_bfloat16() else torch.float32
    size = stored.shape[0] * stored.shape[1] * wide.itemsize
    if not copies.take(size):
        return None, 0
    product, reason = checked(lambda: PrepackedProduct(stored, wide), stored, wide)
    if reason is None:
        return product, size
    copies.left += size
    return None, 0


def checked(
    make: Callable[[], Product] | str, stored: StoredWeight, dtype: torch.dtype
) -> tuple[Product, str | None]:
    """Make a product and try it; return the reference and the reason if it does not work here."""
    reference: Product = Reference(stored, dtype)
    if stored.weight.dtype == dtype:
        reference = PlainProduct(stored, dtype)
    if isinstance(make, str):
        return reference, make
    if 0 in stored.shape:
        return reference, None
    try:
        product = make()
        reason = _difference(product, stored, dtype)
    except (RuntimeError, NotImplementedError, AttributeError) as fault:
        # torch raises these where a CPU or a GPU lacks the instructions or a build the operator.
        return reference, str(fault).splitlines()[0]
    return (product, None) if reason is None else (reference, reason)


def _difference(product: Product, stored: StoredWeight, dtype: torch.dtype) -> str | None:
    """Multiply once with one row and once with several; return what differs from fp32.

    A sum of K products in fp32 is off by K * 2^-24 of the sum of their magnitudes at most; scales,
    zeros and the result rounded to `dtype` add a few of its own roundings.
    """
    outputs, columns = stored.shape
    device = stored.weight.device
    ramp = torch.arange(_PROBE_ROWS * columns, dtype=torch.float32, device=device)
    rows = torch.sin(ramp).view(_PROBE_ROWS, columns).to(dtype)
    tolerance = columns * torch.finfo(torch.float32).eps + 8 * torch.finfo(dtype).eps
    results = (product(rows[:1], None), product(rows, None))
    for part in (slice(0, _PROBE_OUTPUTS), slice(max(0, outputs - _PROBE_OUTPUTS), outputs)):
        values = stored.values(part)
        expected, bound = rows.float() @ values.t(), rows.float().abs() @ values.abs().t()
        for result in results:
            count = result.shape[0]
            off = (result[:, part].float() - expected[:count]).abs()
            if not bool((off <= tolerance * bound[:count] + 1e-30).all()):
                return f"{product.name} with {count} rows differs from the reference"
    return None
