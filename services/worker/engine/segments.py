"""Segments of a step's line of tokens: those that attend to the same rows of the KV cache.

Owns how their keys and values are written and what they attend to. Knows no model and no policy.
The functions over tensors are plain enough for TorchScript, in which `layers` calls them.
"""
# No postponed annotations: TorchScript cannot read them in a NamedTuple.

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch

from services.worker.engine.attention import (
    causal_bias,
    chunk_attention,
    decode_attention,
    row_bias,
)
from services.worker.engine.rows import Rows


class AttentionKind(NamedTuple):
    """What differs between the layers of models.

    Attributes:
        scale: factor of the scores.
        window: a token sees this many, itself included; None: all before it.
        softcap: as in `attention`.
    """

    scale: float
    window: int | None = None
    softcap: float | None = None


class LayerSegment(NamedTuple):
    """A segment as one layer sees it.

    Attributes:
        start: of the segment's tokens in the line.
        stop: their end.
        keys: of all rows of the class, [rows, kv_heads, capacity, head_dim].
        values: like `keys`.
        places: where the tokens' keys go among all [rows * kv_heads * capacity], int64
            [tokens * kv_heads].
        first: of the segment's rows.
        last: their end.
        columns: up to which rows are looked at.
        prompt: one row for all tokens, instead of one for each.
        bias: as in `attention`.
    """

    start: int
    stop: int
    keys: torch.Tensor
    values: torch.Tensor
    places: torch.Tensor
    first: int
    last: int
    columns: int
    prompt: bool
    bias: torch.Tensor | None


def write(
    segment: LayerSegment, key: torch.Tensor, value: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Write [tokens, kv_heads, dim]; return all of its rows, [rows, kv_heads, columns, dim]."""
    keys, values = segment.keys, segment.values
    keys.view(-1, keys.shape[3]).index_copy_(0, segment.places, key.reshape(-1, keys.shape[3]))
    values.view(-1, values.shape[3]).index_copy_(
        0, segment.places, value.reshape(-1, values.shape[3])
    )
    first, last, columns = segment.first, segment.last, segment.columns
    return keys[first:last, :, :columns], values[first:last, :, :columns]


def attend_line(
    segments: list[LayerSegment],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    kind: AttentionKind,
    padding: int,
) -> torch.Tensor:
    """Write the line's keys and values, and attend; return [tokens, heads, value_dim].

    Args:
        segments: of the layer, in the order of the line.
        query: [tokens, heads, head_dim]; the heads may be two dimensions, kv_heads and groups.
        key: [tokens, kv_heads, head_dim].
        value: like `key`; its dim may differ.
        kind: of the layer; the segments know its window.
        padding: so many tokens at the line's end belong to nobody and attend to nothing.
    """
    scale, softcap = kind.scale, kind.softcap
    parts: list[torch.Tensor] = []
    for each in segments:
        part = slice(each.start, each.stop)
        keys, values = write(each, key[part], value[part])
        if each.prompt:
            out = chunk_attention(
                query[part], keys[0], values[0], bias=each.bias, scale=scale, softcap=softcap
            )
        else:
            out = decode_attention(
                query[part], keys, values, bias=each.bias, scale=scale, softcap=softcap
            )
        parts.append(out)
    if padding:
        first = parts[0]
        parts.append(first.new_zeros([padding, first.shape[1], first.shape[2]]))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class Segment(ABC):
    """Some neighbouring tokens of the line, which attend to the same rows."""

    _prompt: bool

    def __init__(self, rows: Rows, tokens: slice, seen: range, columns: int) -> None:
        """Take the tokens' place in the line, their rows, and how many columns are looked at."""
        self.tokens = tokens
        self._rows, self._seen, self._columns = rows, seen, columns
        # By device as well: the layers of a model may lie on several.
        self._indices: dict[tuple[int, torch.device], torch.Tensor] = {}
        self._biases: dict[tuple[int | None, torch.dtype, torch.device], torch.Tensor | None] = {}

    def layer(
        self, layer: int, key: torch.Tensor, value: torch.Tensor, window: int | None = None
    ) -> LayerSegment:
        """Return the segment as a layer sees it.

        Args:
            layer: the layer's index.
            key: any tensor [..., kv_heads, head_dim] of the layer's dtype on its device.
            value: like `key`.
            window: of the layer.
        """
        rows = self._rows.layer(layer, key, value)
        return LayerSegment(
            self.tokens.start,
            self.tokens.stop,
            rows.keys,
            rows.values,
            self._index(key.shape[-2], key.device),
            self._seen.start,
            self._seen.stop,
            self._columns,
            self._prompt,
            self._bias(window, key.dtype, key.device),
        )

    def write(
        self, layer: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write [tokens, kv_heads, dim]; return [rows, kv_heads, columns, dim]."""
        return write(self.layer(layer, key, value), key, value)

    @property
    @abstractmethod
    def before(self) -> int:
        """Tokens of the longest row before the segment's own."""

    @abstractmethod
    def token_mask(self) -> torch.Tensor:
        """Return ones for the tokens of each row, zeros beyond; int64 [rows, columns]."""

    @abstractmethod
    def _row_places(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return row and column of every token, int64 [tokens, 1]."""

    @abstractmethod
    def _make_bias(
        self, window: int | None, dtype: torch.dtype, device: torch.device
    ) -> torch.Tensor | None:
        """Return the bias that attention adds; `window` is one that hides something."""

    def _index(self, kv_heads: int, device: torch.device) -> torch.Tensor:
        index = self._indices.get((kv_heads, device))
        if index is None:
            row, column = self._row_places()
            places = (row * kv_heads + torch.arange(kv_heads)) * self._rows.capacity + column
            index = self._indices[kv_heads, device] = places.flatten().to(device)
        return index

    def _bias(
        self, window: int | None, dtype: torch.dtype, device: torch.device
    ) -> torch.Tensor | None:
        which = None if window is None or window >= self._columns else window, dtype, device
        if which not in self._biases:
            self._biases[which] = self._make_bias(*which)
        return self._biases[which]


class DecodeSegment(Segment):
    """One token for each of some rows of one class, neighbours from row `first` on."""

    _prompt = False

    def __init__(
        self, rows: Rows, first: int, lengths: list[int], columns: int, *, at: int
    ) -> None:
        """Take the rows' lengths, the new token included, and how many columns are looked at."""
        tokens = slice(at, at + len(lengths))
        super().__init__(rows, tokens, range(first, first + len(lengths)), columns)
        self._lengths = torch.tensor(lengths)
        self._ragged = min(lengths) < columns

    @property
    def before(self) -> int:
        """Tokens of the longest row before its new one."""
        return self._columns - 1

    def token_mask(self) -> torch.Tensor:
        """Return ones up to and with each row's new token, zeros beyond; int64 [rows, columns]."""
        return (torch.arange(self._columns) < self._lengths[:, None]).long()

    def _row_places(self) -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.arange(self._seen.start, self._seen.stop)
        return rows[:, None], self._lengths[:, None] - 1

    def _make_bias(
        self, window: int | None, dtype: torch.dtype, device: torch.device
    ) -> torch.Tensor | None:
        if window is None and not self._ragged:
            return None
        return row_bias(self._lengths.to(device), self._columns, window, dtype)


class ChunkSegment(Segment):
    """Tokens `start` to `end` of a prompt, which has a row of its own."""

    _prompt = True

    def __init__(self, rows: Rows, start: int, end: int, at: int) -> None:
        """Take the row, and where in the line the chunk is."""
        super().__init__(rows, slice(at, at + end - start), range(1), end)
        self._start, self._end = start, end

    @property
    def before(self) -> int:
        """Tokens of the row before the chunk."""
        return self._start

    def token_mask(self) -> torch.Tensor:
        """Return ones for all tokens up to the chunk's last, int64 [1, end]."""
        return torch.ones(1, self._end, dtype=torch.int64)

    def _row_places(self) -> tuple[torch.Tensor, torch.Tensor]:
        columns = torch.arange(self._start, self._end)
        return torch.zeros_like(columns)[:, None], columns[:, None]

    def _make_bias(
        self, window: int | None, dtype: torch.dtype, device: torch.device
    ) -> torch.Tensor | None:
        if not self._start and window is None:
            return None
        like = torch.empty(0, dtype=dtype, device=device)
        return causal_bias(self._end - self._start, self._end, window, like)
