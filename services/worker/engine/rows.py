"""Rows of keys and values: side by side, of one capacity, for every layer.

Owns the tensors of one size class, of a prompt's own row or of a kept prefix. Knows no sequence.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch

from services.worker.engine.script import without_python

# A class that runs out of rows gets an eighth more, so that few are copied.
_GROWTH = 8


@dataclass(slots=True)
class Layer:
    """One layer's tensors, [rows, kv_heads, capacity, head_dim]; head_dims may differ."""

    keys: torch.Tensor
    values: torch.Tensor

    def resized(self, rows: int, capacity: int, used: int) -> Layer:
        """Return a copy of another size with the first `used` rows, beyond which are zeros."""
        return Layer(*(_resized(old, rows, capacity, used) for old in (self.keys, self.values)))


class Rows:
    """Layers of rows; a layer is made when it is written first."""

    def __init__(self, capacity: int, rows: int = 1) -> None:
        """Have room for `rows` rows of `capacity` tokens."""
        self.capacity = capacity
        self.rows = rows
        self.layers: dict[int, Layer] = {}

    @property
    def tokens(self) -> int:
        """Tokens that there is room for."""
        return self.rows * self.capacity

    def layer(self, index: int, keys: torch.Tensor, values: torch.Tensor) -> Layer:
        """Return a layer; a new one is made for keys and values [..., kv_heads, head_dim]."""
        layer = self.layers.get(index)
        if layer is None:
            layer = self.layers[index] = Layer(self._empty(keys), self._empty(values))
        return layer

    def fit(self, rows: int) -> None:
        """Have room for `rows` rows at least."""
        if rows > self.rows:
            grown = max(rows, self.rows + self.rows // _GROWTH)
            self._resize(grown, self.capacity, self.rows)

    def trim(self, rows: int) -> None:
        """Have room for the first `rows` rows only."""
        self._resize(rows, self.capacity, rows)

    def extend(self, capacity: int) -> None:
        """Give every row another capacity."""
        if capacity != self.capacity:
            self._resize(self.rows, capacity, self.rows)

    def copy(self, source: Rows, at: int, to: int, tokens: int) -> None:
        """Copy the beginning of a row of another set, or of this one, into row `to`."""
        if len(self.layers) < len(source.layers):
            for index, layer in source.layers.items():
                self.layer(index, layer.keys.transpose(1, 2), layer.values.transpose(1, 2))
        _copier()(source._tensors(), self._tensors(), at, to, tokens)

    def wipe(self, row: int, start: int) -> None:
        """Zero what a row holds from a token on that may be NaN, which no mask would hide."""
        for layer in self.layers.values():
            layer.keys[row, :, start:].zero_()
            layer.values[row, :, start:].zero_()

    def _tensors(self) -> list[torch.Tensor]:
        """Return keys and values of all layers, in the layers' order."""
        in_order = [layer for _, layer in sorted(self.layers.items())]
        return [each for layer in in_order for each in (layer.keys, layer.values)]

    def _empty(self, states: torch.Tensor) -> torch.Tensor:
        # Zeros, not empty: a masked score hides any number but NaN.
        kv_heads, head_dim = states.shape[-2:]
        return states.new_zeros(self.rows, kv_heads, self.capacity, head_dim)

    def _resize(self, rows: int, capacity: int, used: int) -> None:
        # Layer by layer, so that no more than one is there twice.
        self.rows, self.capacity = rows, capacity
        for index, layer in self.layers.items():
            self.layers[index] = layer.resized(rows, capacity, used)


def _resized(old: torch.Tensor, rows: int, capacity: int, used: int) -> torch.Tensor:
    new = old.new_zeros(rows, old.shape[1], capacity, old.shape[3])
    tokens = min(old.shape[2], capacity)
    new[:used, :, :tokens] = old[:used, :, :tokens]
    return new


@functools.cache
def _copier() -> Callable[[list[torch.Tensor], list[torch.Tensor], int, int, int], None]:
    return without_python(_copy_row)


def _copy_row(
    sources: list[torch.Tensor], targets: list[torch.Tensor], at: int, to: int, tokens: int
) -> None:
    for source, target in zip(sources, targets):  # noqa: B905 - TorchScript knows no strict
        target[to].narrow(1, 0, tokens).copy_(source[at].narrow(1, 0, tokens))
