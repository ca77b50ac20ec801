"""The layout of keys and values: what each layer's are like, and which of them share a tensor.

Those of one kind lie together in banks, so that few operators copy a row of all layers. Owns that
arrangement and the making of the tensors. Knows no sequence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

# Into how many banks each kind is divided. As banks are resized one after the other, an eighth of
# the memory is there twice meanwhile; a single bank would make copies little faster.
_BANKS = 8


@dataclass(frozen=True, slots=True)
class Kind:
    """What keys or values are like, but for how many there are."""

    kv_heads: int
    dim: int
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, states: torch.Tensor) -> Kind:
        """Return the kind of keys or values [..., kv_heads, dim]."""
        return cls(states.shape[-2], states.shape[-1], states.dtype, states.device)

    @property
    def token_bytes(self) -> int:
        """Bytes that those of one token and layer take."""
        return self.kv_heads * self.dim * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Bank:
    """What shares a tensor; member 2 * i are the keys of layer i, 2 * i + 1 its values."""

    kind: Kind
    members: tuple[int, ...]

    def zeros(self, rows: int, capacity: int) -> torch.Tensor:
        """Return the tensor, [members, rows, kv_heads, capacity, dim]."""
        # Zeros, not empty: a masked score hides any number but NaN.
        kind = self.kind
        shape = len(self.members), rows, kind.kv_heads, capacity, kind.dim
        return torch.zeros(shape, dtype=kind.dtype, device=kind.device)


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer's keys and values, each [rows, kv_heads, capacity, dim]; the dims may differ."""

    keys: torch.Tensor
    values: torch.Tensor


class Layout:
    """The banks of a model."""

    def __init__(self, layers: Iterable[tuple[Kind, Kind]]) -> None:
        """Take the kinds of each layer's keys and values, in the layers' order."""
        members: dict[Kind, list[int]] = {}
        for member, kind in enumerate(kind for layer in layers for kind in layer):
            members.setdefault(kind, []).append(member)
        self.banks = tuple(
            Bank(kind, part) for kind, alike in members.items() for part in _parts(alike)
        )

    @property
    def token_bytes(self) -> int:
        """Bytes that the keys and values of one token take."""
        return sum(len(bank.members) * bank.kind.token_bytes for bank in self.banks)

    def layers(self, tensors: Iterable[torch.Tensor]) -> tuple[Layer, ...]:
        """Return every layer's part of the banks' tensors."""
        parts: dict[int, torch.Tensor] = {}
        for bank, tensor in zip(self.banks, tensors, strict=True):
            parts.update(zip(bank.members, tensor.unbind(), strict=True))
        return tuple(Layer(parts[at], parts[at + 1]) for at in range(0, len(parts), 2))


def _parts(members: list[int]) -> Iterable[tuple[int, ...]]:
    """Divide them evenly, their order kept."""
    size = -(-len(members) // _BANKS)
    return (tuple(members[at : at + size]) for at in range(0, len(members), size))
