"""`PackedLinear`: a Linear for inference whose weight is bf16, int8 or int4.

Owns the module's side: building, state dict, device and dtype. Knows no kernel (kernels.py).
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from shared.compression.kernels import Kernels, MemoryBudget, choose
from shared.compression.multiplication import Multiplication
from shared.compression.scheme import Scheme
from shared.compression.stored_weight import StoredWeight, quantise, stored_from, tensor_specs
from shared.errors import ModelLoadError, ModelNotSupported


class PackedLinear(nn.Module):
    """`x @ weight.T + bias` for activations of `dtype` on `device`; it has no gradient.

    A new one is empty until a state dict is loaded. `.to(dtype)` changes the activations' dtype
    and the bias, never the stored weight. Activations of another dtype are computed in `dtype`
    and returned in their own.

    Attributes:
        scheme: how the weight is packed.
        dtype: of the activations that the kernels were made for.
        device: where the weight lies.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        scheme: Scheme,
        *,
        bias: bool = True,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        copies: MemoryBudget | None = None,
    ) -> None:
        """Make an empty one; `copies` is what prepacked copies for large batches may take."""
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.scheme, self.dtype, self.device = scheme, dtype, torch.device(device)
        self._copies = copies or MemoryBudget()
        self._kernels: Kernels | None = None
        self.bias: nn.Parameter | None = None
        if bias:
            zeros = torch.zeros(out_features, dtype=dtype, device=device)
            self.bias = nn.Parameter(zeros, requires_grad=False)

    @classmethod
    def from_linear(
        cls,
        linear: nn.Linear,
        scheme: Scheme,
        *,
        dtype: torch.dtype | None = None,
        copies: MemoryBudget | None = None,
        name: str = "weight",
    ) -> PackedLinear:
        """Pack a Linear for activations of `dtype`, by default its own; `linear` stays as it is.

        Raises:
            WeightNotFinite: the weight holds NaN or infinity; `name` is in the message.
        """
        stored = quantise(linear.weight, scheme, name=name)
        dtype = linear.weight.dtype if dtype is None else dtype
        return cls.from_stored(stored, linear.bias, dtype=dtype, copies=copies)

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, Tensor],
        shape: tuple[int, int],
        scheme: Scheme,
        *,
        dtype: torch.dtype = torch.float32,
        copies: MemoryBudget | None = None,
        name: str = "weight",
    ) -> PackedLinear:
        """Build from stored tensors (and `bias`) of a layer of `shape` (out, in); takes them over.

        Raises:
            ModelNotSupported: a tensor is missing or of another shape or dtype.
        """
        stored = stored_from(scheme, shape, tensors, name=name)
        return cls.from_stored(stored, tensors.get("bias"), dtype=dtype, copies=copies)

    @classmethod
    def from_stored(
        cls,
        stored: StoredWeight,
        bias: Tensor | None,
        *,
        dtype: torch.dtype = torch.float32,
        copies: MemoryBudget | None = None,
    ) -> PackedLinear:
        """Build from a packed weight, on the device where it lies."""
        rows, columns = stored.shape
        device = stored.weight.device
        module = cls(
            columns,
            rows,
            stored.scheme,
            bias=bias is not None,
            dtype=dtype,
            device=device,
            copies=copies,
        )
        if bias is not None and module.bias is not None:
            module.bias.data.copy_(bias.detach())
        module.take(stored)
        return module

    def take(self, stored: StoredWeight) -> None:
        """Hold this weight from now on, in the layout that the kernels of this machine want."""
        if self._kernels is not None:
            self._copies.left += self._kernels.copy_bytes
        self._kernels = None  # the old weight goes before the new layout comes
        self._kernels = choose(stored.to(self.device), self.dtype, self._copies)

    def stored(self) -> StoredWeight:
        """Return the weight as it lies in files.

        Raises:
            ModelLoadError: nothing was loaded yet.
        """
        return self._loaded().few.stored()

    def share(self, other: PackedLinear) -> None:
        """Use the very weight of another layer, as tied layers do."""
        self._kernels = other._loaded()

    @property
    def kernel(self) -> str:
        """Name of the kernel for few rows, and of the one for many if there is another."""
        kernels = self._loaded()
        return kernels.few.name + (f", {kernels.many.name}" if kernels.many else "")

    @property
    def fallback_reason(self) -> str | None:
        """Why the slow reference computes this layer; None if a kernel does."""
        return self._loaded().reason

    @property
    def nbytes(self) -> int:
        """Bytes in memory: the weight in the kernels' layout, copies and the bias."""
        bias = 0 if self.bias is None else self.bias.nbytes
        return bias + (0 if self._kernels is None else self._kernels.nbytes)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., out] of [..., in] in the dtype of `x`."""
        # Nothing here is called that need not be: 200 layers a step, microseconds each.
        flat = x.dim() == 2  # noqa: PLR2004 - rows of inputs
        rows = x if flat else x.reshape(-1, self.in_features)
        if not rows.shape[0]:
            return x.new_zeros(*x.shape[:-1], self.out_features)
        product = self._loaded().for_rows(rows.shape[0])
        bias = self.bias
        if bias is not None and bias.dtype is not product.dtype:
            bias = bias.to(product.dtype)
        if rows.dtype is not product.dtype:
            rows = rows.to(product.dtype)
        out = product(rows if rows.is_contiguous() else rows.contiguous(), bias)
        if out.dtype is not x.dtype:
            out = out.to(x.dtype)
        return out if flat else out.view(*x.shape[:-1], self.out_features)

    def multiplication(self) -> Multiplication:
        """Return what it computes, for rows of its own dtype; it shares the weight."""
        return Multiplication(self._loaded(), self.bias)

    def extra_repr(self) -> str:
        """Return what `print(model)` shows."""
        kernel = "empty" if self._kernels is None else self.kernel
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, {self.scheme}, {self.dtype}, {kernel}"
        )

    def _loaded(self) -> Kernels:
        if self._kernels is None:
            msg = "a PackedLinear was used before its weight was loaded"
            raise ModelLoadError(msg)
        return self._kernels

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PackedLinear:
        """Follow `.to()`: move the weight, and lay it out anew for another activation dtype."""
        super()._apply(fn, recurse)
        like = fn(torch.empty(0, dtype=self.dtype, device=self.device))
        if (like.device, like.dtype) == (self.device, self.dtype):
            return self
        kernels = self._kernels
        self.device, self.dtype = like.device, like.dtype
        if like.device.type == "meta":
            self._kernels = None
        elif kernels is not None:
            self.take(kernels.few.stored())
        return self

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self._kernels is not None:
            for name, tensor in self.stored().tensors().items():
                destination[prefix + name] = tensor

    def _load_from_state_dict(  # noqa: PLR0917 - torch's signature
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        shape = (self.out_features, self.in_features)
        names = tensor_specs(self.scheme, shape)
        rest = dict(state_dict)
        tensors = {name: rest.pop(prefix + name) for name in names if prefix + name in rest}
        super()._load_from_state_dict(
            rest, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        missing = [prefix + name for name in names if name not in tensors]
        if missing:
            missing_keys.extend(missing if strict else ())
            return
        try:
            stored = stored_from(self.scheme, shape, tensors, name=prefix.rstrip("."))
        except ModelNotSupported as fault:
            error_msgs.append(fault.message)
            return
        clones = {name: tensor.clone() for name, tensor in stored.tensors().items()}
        self.take(stored_from(self.scheme, shape, clones))

    def __getstate__(self) -> dict[str, Any]:
        """Return what copies and pickles hold: the stored weight, for layouts cannot be copied."""
        state = dict(self.__dict__)
        state["_kernels"] = None if self._kernels is None else self.stored()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Lay the weight out again."""
        stored = state.pop("_kernels")
        super().__setstate__({**state, "_kernels": None})
        if stored is not None:
            self.take(stored)
