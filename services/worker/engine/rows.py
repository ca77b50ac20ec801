"""Rows of keys and values: side by side, of one capacity, for every layer.

Owns the tensors of one size class, of a prompt's own row or of a kept prefix. Knows no sequence.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from services.worker.engine.layout import Layer, Layout
from services.worker.engine.script import without_python

# A class that runs out of rows gets an eighth more, so that few are copied.
_GROWTH = 8


class Rows:
    """Rows, laid out in banks."""

    def __init__(self, layout: Layout, capacity: int, rows: int = 1) -> None:
        """Have room for `rows` rows of `capacity` tokens, all zeros."""
        self.capacity = capacity
        self.rows = rows
        self._layout = layout
        self._banks = [bank.zeros(rows, capacity) for bank in layout.banks]
        self.layers: tuple[Layer, ...] = layout.layers(self._banks)

    @property
    def tokens(self) -> int:
        """Tokens that there is room for."""
        return self.rows * self.capacity

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
        _copier()(source._banks, self._banks, at, to, tokens)

    def wipe(self, row: int, start: int) -> None:
        """Zero what a row holds from a token on that may be NaN, which no mask would hide."""
        for bank in self._banks:
            bank[:, row, :, start:].zero_()

    def _resize(self, rows: int, capacity: int, used: int) -> None:
        """Take another size, with the first `used` rows as they are and zeros beyond.

        Bank by bank, so that no more than one is there twice. If memory does not suffice, it can be
        done again.
        """
        self.layers = ()  # They would keep the old tensors.
        for at, old in enumerate(self._banks):
            tokens = min(old.shape[3], capacity)
            new = self._banks[at] = self._layout.banks[at].zeros(rows, capacity)
            new[:, :used, :, :tokens] = old[:, :used, :, :tokens]
        self.rows, self.capacity = rows, capacity
        self.layers = self._layout.layers(self._banks)


@functools.cache
def _copier() -> Callable[[list[torch.Tensor], list[torch.Tensor], int, int, int], None]:
    return without_python(_copy_row)


def _copy_row(
    sources: list[torch.Tensor], targets: list[torch.Tensor], at: int, to: int, tokens: int
) -> None:
    """Copy between banks [members, rows, kv_heads, capacity, dim]."""
    for source, target in zip(sources, targets):  # noqa: B905 - TorchScript knows no strict
        row = source.select(1, at).narrow(2, 0, tokens)
        target.select(1, to).narrow(2, 0, tokens).copy_(row)
