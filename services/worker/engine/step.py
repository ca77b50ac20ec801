"""The tensors of one step: the tokens of all its rows and chunks, in one line.

Everything in a model but attention treats tokens alike, so rows that decode and chunks of prompts
go through it together; attention takes the line apart into segments, each over rows of the KV
cache. Owns the line and the segments. Knows no model and no policy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from services.worker.engine.attention import (
    causal_bias,
    chunk_attention,
    decode_attention,
    row_bias,
)
from services.worker.engine.kv_cache import KVCache
from services.worker.engine.rows import Rows
from services.worker.engine.scheduler import Chunk
from services.worker.engine.sequence import Sequence
from services.worker.engine.slots import Group

# Rows are looked at up to a multiple of so many columns, so that views last for some steps.
_COLUMNS = 32


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


@dataclass(frozen=True, slots=True)
class Step:
    """The line; `padding` tokens at its end belong to nobody and attend to nothing.

    Attributes:
        sequences: whose next token may be drawn, and where in the line their last token is.
        input_ids: int64 [tokens].
        positions: int64 [tokens].
        segments: in the order of the line.
        padding: see above.
    """

    sequences: tuple[tuple[Sequence, int], ...]
    input_ids: torch.Tensor
    positions: torch.Tensor
    segments: tuple[Segment, ...]
    padding: int = 0

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        kind: AttentionKind,
    ) -> torch.Tensor:
        """Return attention's output [tokens, heads, value_dim].

        Args:
            layer: the layer's index.
            query: [tokens, heads, head_dim]; the heads may be two dimensions, kv_heads and groups.
            key: [tokens, kv_heads, head_dim], written to the cache.
            value: like `key`; its dim may differ.
            kind: of the layer.
        """
        if len(self.segments) == 1 and not self.padding:
            return self.segments[0].attend(layer, query, key, value, kind)
        out = [
            each.attend(layer, query[each.tokens], key[each.tokens], value[each.tokens], kind)
            for each in self.segments
        ]
        if self.padding:
            out.append(out[0].new_zeros(self.padding, *out[0].shape[1:]))
        return torch.cat(out)


def make_step(
    groups: tuple[Group, ...],
    chunks: tuple[Chunk, ...],
    cache: KVCache,
    device: torch.device,
    *,
    padded: Callable[[int], int] = int,
    alone: bool = False,
) -> Step:
    """Lay out the line: the rows of all groups, then the chunks.

    Args:
        groups: the rows that take one token each.
        chunks: of prompts.
        cache: where their keys and values are.
        device: of the tensors.
        padded: the length to which a line of so many tokens is filled up.
        alone: each row attends by itself, to all of its capacity, so that every product has the
            shape of its class (deterministic mode).
    """
    ids: list[int] = []
    positions: list[int] = []
    sequences: list[tuple[Sequence, int]] = []
    segments: list[Segment] = []
    for group in groups:
        lengths = [sequence.computed for sequence in group.sequences]
        segments += _decode_segments(cache, group, lengths, len(ids), device, alone=alone)
        for sequence, length in zip(group.sequences, lengths, strict=True):
            sequences.append((sequence, len(ids)))
            ids.append(sequence.token(length - 1))
            positions.append(length - 1)
    for chunk in chunks:
        rows = cache.stage(chunk.sequence.key, chunk.room, chunk.reuse)
        segments.append(ChunkSegment(rows, chunk.start, chunk.end, len(ids), device))
        ids += chunk.sequence.token_ids[chunk.start : chunk.end]
        positions += range(chunk.start, chunk.end)
        if chunk.end == chunk.sequence.computed:  # another of this step's chunks is its last
            sequences.append((chunk.sequence, len(ids) - 1))
    padding = padded(len(ids)) - len(ids)
    return Step(
        tuple(sequences),
        torch.tensor(ids + [0] * padding, device=device),
        torch.tensor(positions + [0] * padding, device=device),
        tuple(segments),
        padding,
    )


def _decode_segments(
    cache: KVCache,
    group: Group,
    lengths: list[int],
    at: int,
    device: torch.device,
    *,
    alone: bool,
) -> list[DecodeSegment]:
    rows = cache.size_class(group.capacity)
    if not alone:
        columns = min(group.capacity, -(-max(lengths) // _COLUMNS) * _COLUMNS)
        return [DecodeSegment(rows, 0, lengths, columns, at=at, device=device)]
    return [
        DecodeSegment(rows, i, [length], group.capacity, at=at + i, device=device)
        for i, length in enumerate(lengths)
    ]
