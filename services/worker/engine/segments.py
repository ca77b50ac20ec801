"""Segments of a step's line of tokens: those that attend to the same rows of the KV cache.

Owns how their keys and values are written and what they attend to. Knows no model and no policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from services.worker.engine.attention import (
    causal_bias,
    chunk_attention,
    decode_attention,
    row_bias,
)
from services.worker.engine.rows import Rows


@dataclass(frozen=True, slots=True)
class AttentionKind:
    """What differs between the layers of models.

    Attributes:
        scale: factor of the scores.
        window: a token sees this many, itself included; None: all before it.
        softcap: as in `attention`.
    """

    scale: float
    window: int | None = None
    softcap: float | None = None


class Segment(Protocol):
    """Some neighbouring tokens of the line, which attend to the same rows."""

    tokens: slice

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        kind: AttentionKind,
    ) -> torch.Tensor:
        """Write keys and values of the segment's tokens, and attend; all [tokens, heads, dim]."""
        ...

    @property
    def before(self) -> int:
        """Tokens of the longest row before the segment's own."""
        ...

    def write(
        self, layer: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write [tokens, kv_heads, dim]; return all keys and values of the segment's rows."""
        ...

    def token_mask(self) -> torch.Tensor:
        """Return ones for the tokens of each row, zeros beyond; int64 [rows, length]."""
        ...


class DecodeSegment:
    """One token for each of some rows of one class, neighbours from row `first` on."""

    def __init__(
        self,
        rows: Rows,
        first: int,
        lengths: list[int],
        columns: int,
        *,
        at: int,
        device: torch.device,
    ) -> None:
        """Take the rows' lengths, the new token included, and how many columns are looked at."""
        self.tokens = slice(at, at + len(lengths))
        self._rows = rows
        self._range = range(first, first + len(lengths))
        self._columns = columns
        self._lengths = torch.tensor(lengths, device=device)
        self._ragged = min(lengths) < columns
        # By device as well: the layers of a model may lie on several.
        self._indices: dict[tuple[int, torch.device], torch.Tensor] = {}
        self._biases: dict[tuple[int | None, torch.device], torch.Tensor] = {}

    @property
    def before(self) -> int:
        """Tokens of the longest row before its new one."""
        return self._columns - 1

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        kind: AttentionKind,
    ) -> torch.Tensor:
        """Attend with one query a row."""
        keys, values = self.write(layer, key, value)
        bias = self._bias(kind.window, query)
        return decode_attention(
            query, keys, values, bias=bias, scale=kind.scale, softcap=kind.softcap
        )

    def write(
        self, layer: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write [rows, kv_heads, dim]; return all keys and values, [rows, kv_heads, columns, dim]."""
        kv_heads = key.shape[1]
        if layer not in self._rows.layers:
            self._rows.layer(layer, key, value)
        view = self._rows.view(layer, self._range, self._columns)
        index = self._index(kv_heads, key.device)
        view.flat_keys.index_copy_(0, index, key.reshape(-1, key.shape[2]))
        view.flat_values.index_copy_(0, index, value.reshape(-1, value.shape[2]))
        return view.keys, view.values

    def token_mask(self) -> torch.Tensor:
        """Return ones up to and with each row's new token, zeros beyond; int64 [rows, columns]."""
        columns = torch.arange(self._columns, device=self._lengths.device)
        return (columns < self._lengths[:, None]).long()

    def _index(self, kv_heads: int, device: torch.device) -> torch.Tensor:
        """Return where the new tokens go among all [rows x kv_heads x capacity], in that order."""
        index = self._indices.get((kv_heads, device))
        if index is None:
            lengths = self._lengths.to(device)
            row = torch.arange(self._range.start, self._range.stop, device=device)[:, None]
            head = torch.arange(kv_heads, device=device)
            places = (row * kv_heads + head) * self._rows.capacity + lengths[:, None] - 1
            index = self._indices[kv_heads, device] = places.flatten()
        return index

    def _bias(self, window: int | None, query: torch.Tensor) -> torch.Tensor | None:
        if window is not None and window >= self._columns:
            window = None
        if window is None and not self._ragged:
            return None
        which = window, query.device
        bias = self._biases.get(which)
        if bias is None:
            lengths = self._lengths.to(query.device)
            bias = row_bias(lengths, self._columns, window, query.dtype)
            self._biases[which] = bias
        return bias


class ChunkSegment:
    """Tokens `start` to `end` of a prompt, which has a row of its own."""

    def __init__(self, rows: Rows, start: int, end: int, at: int, device: torch.device) -> None:
        """Take the row, and where in the line the chunk is."""
        self.tokens = slice(at, at + end - start)
        self._rows = rows
        self._start, self._end = start, end
        self._device = device
        self._biases: dict[tuple[int | None, torch.device], torch.Tensor] = {}

    @property
    def before(self) -> int:
        """Tokens of the row before the chunk."""
        return self._start

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        kind: AttentionKind,
    ) -> torch.Tensor:
        """Attend to the row's beginning and causally to the chunk itself."""
        keys, values = self.write(layer, key, value)
        bias = self._bias(kind.window, query)
        return chunk_attention(
            query, keys, values, bias=bias, scale=kind.scale, softcap=kind.softcap
        )

    def write(
        self, layer: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write [tokens, kv_heads, dim]; return all keys and values, [kv_heads, end, dim]."""
        held = self._rows.layer(layer, key, value)
        held.keys[0, :, self._start : self._end] = key.transpose(0, 1)
        held.values[0, :, self._start : self._end] = value.transpose(0, 1)
        return held.keys[0, :, : self._end], held.values[0, :, : self._end]

    def token_mask(self) -> torch.Tensor:
        """Return ones for all tokens up to the chunk's last, int64 [1, end]."""
        return torch.ones(1, self._end, dtype=torch.int64, device=self._device)

    def _bias(self, window: int | None, like: torch.Tensor) -> torch.Tensor | None:
        if window is not None and window >= self._end:
            window = None
        if not self._start and window is None:
            return None
        which = window, like.device
        bias = self._biases.get(which)
        if bias is None:
            tokens = self._end - self._start
            bias = self._biases[which] = causal_bias(tokens, self._end, window, like)
        return bias
