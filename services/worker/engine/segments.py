"""Segments of a step's line of tokens: those that attend to the same rows of the KV cache.

Owns which rows and columns a segment writes and sees, and gives each layer its view of it. Knows
no model and no policy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from services.worker.engine.attention import causal_bias, row_bias
from services.worker.engine.layer_attention import LayerSegment, Rectangle, write
from services.worker.engine.rows import Rows


class Segment(ABC):
    """Some neighbouring tokens of the line, which attend to the same rows."""

    _prompt: bool

    def __init__(self, rows: Rows, tokens: slice, seen: range, columns: int) -> None:
        """Take the tokens' place in the line, their rows, and how many columns are looked at."""
        self.tokens = tokens
        self._rows, self._seen, self._columns = rows, seen, columns
        # By device as well: the layers of a model may lie on several.
        self._indices: dict[tuple[int, torch.device], torch.Tensor] = {}
        self._biases: dict[
            tuple[int | None, int, torch.dtype, torch.device], torch.Tensor | None
        ] = {}

    def layer(
        self,
        layer: int,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        window: int | None = None,
        groups: int = 1,
    ) -> LayerSegment:
        """Return the segment as a layer sees it.

        Args:
            layer: the layer's index.
            key: any tensor [..., kv_heads, head_dim] of the layer's dtype on its device.
            value: like `key`; only who does not know the layers yet looks at it.
            window: of the layer.
            groups: query heads of each KV head.
        """
        del value
        held = self._rows.layers[layer]
        return LayerSegment(
            self.tokens.start,
            self.tokens.stop,
            held.keys,
            held.values,
            self._index(key.shape[-2], key.device),
            self._seen.start,
            self._seen.stop,
            self._columns,
            self._prompt,
            self._rectangle(key.shape[-2], groups, key.device),
            self._bias(window, groups, key.dtype, key.device),
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

    def _rectangle(self, kv_heads: int, groups: int, device: torch.device) -> Rectangle | None:
        """Return how the tokens lie in the rows; None: one in each, or all in one."""
        del kv_heads, groups, device

    @abstractmethod
    def _make_bias(
        self, window: int | None, groups: int, dtype: torch.dtype, device: torch.device
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
        self, window: int | None, groups: int, dtype: torch.dtype, device: torch.device
    ) -> torch.Tensor | None:
        hiding = None if window is None or window >= self._columns else window
        which = hiding, groups, dtype, device
        if which not in self._biases:
            self._biases[which] = self._make_bias(*which)
        return self._biases[which]


class DecodeSegment(Segment):
    """The last tokens of some rows of one class, neighbours from row `first` on."""

    _prompt = False

    def __init__(
        self, rows: Rows, first: int, spans: list[range], columns: int, *, at: int
    ) -> None:
        """Take each row's new tokens, and how many columns are looked at."""
        counts = torch.tensor([len(span) for span in spans])
        tokens = slice(at, at + int(counts.sum()))
        super().__init__(rows, tokens, range(first, first + len(spans)), columns)
        self._starts, self._counts = torch.tensor([span.start for span in spans]), counts
        self._width = int(counts.max())
        self._ragged = self._width > 1 or min(span.stop for span in spans) < columns
        # By device: see there.
        self._rectangles: dict[tuple[int, int, torch.device], Rectangle] = {}

    @property
    def before(self) -> int:
        """Tokens of the longest row before its new one."""
        return self._columns - 1

    def token_mask(self) -> torch.Tensor:
        """Return ones up to and with each row's new token, zeros beyond; int64 [rows, columns]."""
        return (torch.arange(self._columns) <= self._starts[:, None]).long()

    def _row_places(self) -> tuple[torch.Tensor, torch.Tensor]:
        row, offset = self._tokens()
        return (self._seen.start + row)[:, None], (self._starts[row] + offset)[:, None]

    def _tokens(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return each token's row, of those that are seen, and which of the row's tokens it is."""
        row = torch.repeat_interleave(self._counts)
        return row, torch.arange(len(row)) - self._firsts()[row]

    def _firsts(self) -> torch.Tensor:
        """Return which token is each row's first."""
        return self._counts.cumsum(0) - self._counts

    def _rectangle(self, kv_heads: int, groups: int, device: torch.device) -> Rectangle | None:
        if self._width == 1:
            return None
        which = kv_heads, groups, device
        rectangle = self._rectangles.get(which)
        if rectangle is None:
            cells, queries = self._cells(kv_heads, groups)
            rectangle = self._rectangles[which] = Rectangle(cells.to(device), queries.to(device))
        return rectangle

    def _cells(self, kv_heads: int, groups: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what a `Rectangle` is made of."""
        head, group = torch.arange(kv_heads), torch.arange(groups)
        taken = torch.minimum(torch.arange(self._width), self._counts[:, None] - 1)
        token = (self._firsts()[:, None] + taken)[:, None, :, None]
        cells = (token * kv_heads + head[:, None, None]) * groups + group
        row, offset = self._tokens()
        place = (row * self._width + offset)[:, None, None]
        queries = (place * groups + group) * kv_heads + head[:, None]
        return cells.flatten(), queries.flatten()

    def _make_bias(
        self, window: int | None, groups: int, dtype: torch.dtype, device: torch.device
    ) -> torch.Tensor | None:
        if window is None and not self._ragged:
            return None
        seen = self._starts[:, None] + 1 + torch.arange(self._width)
        if self._width > 1:
            seen = seen.repeat_interleave(groups, 1)
        return row_bias(seen.to(device), self._columns, window, dtype)


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
        self, window: int | None, groups: int, dtype: torch.dtype, device: torch.device
    ) -> torch.Tensor | None:
        del groups
        if not self._start and window is None:
            return None
        like = torch.empty(0, dtype=dtype, device=device)
        return causal_bias(self._end - self._start, self._end, window, like)
