"""The tensors of one step: the tokens of all its rows and chunks, in one line.

Everything in a model but attention treats tokens alike, so rows that decode and chunks of prompts
go through it together; attention takes the line apart into segments, each over rows of the KV
cache. Owns the line. Knows no model and no policy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from services.worker.engine.kv_cache import KVCache
from services.worker.engine.layer_attention import AttentionKind, attend_line
from services.worker.engine.scheduler import Chunk
from services.worker.engine.segments import ChunkSegment, DecodeSegment, Segment
from services.worker.engine.sequence import Sequence
from services.worker.engine.slots import Group

# Rows are looked at up to a multiple of so many columns: products like even shapes.
_COLUMNS = 32


@dataclass(frozen=True, slots=True)
class Step:
    """The line; `padding` tokens at its end belong to nobody and attend to nothing.

    Attributes:
        sequences: whose next token may be drawn, and after which token of the line; once more
            for each token of its draft, in their order.
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
        groups = query.shape[1:].numel() // key.shape[1:].numel()
        of_layer = [
            each.layer(layer, key, value, window=kind.window, groups=groups)
            for each in self.segments
        ]
        return attend_line(of_layer, query, key, value, kind=kind, padding=self.padding)


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
        groups: the rows that take a token each, and their drafts.
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
        spans = [
            range(each.computed - 1, each.computed + len(each.draft)) for each in group.sequences
        ]
        segments += _decode_segments(cache, group, spans, len(ids), alone=alone)
        for sequence, span in zip(group.sequences, spans, strict=True):
            sequences += [(sequence, len(ids) + at) for at in range(len(span))]
            ids += (sequence.token(span.start), *sequence.draft)
            positions += span
    for chunk in chunks:
        rows = cache.stage(chunk.sequence.key, chunk.room, chunk.reuse)
        segments.append(ChunkSegment(rows, chunk.start, chunk.end, len(ids)))
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
    spans: list[range],
    at: int,
    *,
    alone: bool,
) -> list[DecodeSegment]:
    rows = cache.size_class(group.capacity)
    if not alone:
        longest = max(span.stop for span in spans)
        columns = min(group.capacity, -(-longest // _COLUMNS) * _COLUMNS)
        return [DecodeSegment(rows, 0, spans, columns, at=at)]
    return [
        DecodeSegment(rows, i, [span], group.capacity, at=at + i) for i, span in enumerate(spans)
    ]
