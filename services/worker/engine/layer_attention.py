"""One layer's attention over a step's line of tokens.

Owns how keys and values are written to rows of the KV cache, and how tokens that lie in a line are
laid into those rows and back. Plain functions over tensors, which TorchScript, Python and
transformers' models call alike. Knows no model, no policy and no sequence.
"""
# No postponed annotations: TorchScript cannot read them in a NamedTuple.

from typing import NamedTuple

import torch

from services.worker.engine.attention import chunk_attention, decode_attention


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


class Rectangle(NamedTuple):
    """How tokens lie in rows that take different numbers of them, up to `width`.

    Attributes:
        cells: which of the segment's [tokens * heads] queries is in each cell, int64
            [rows * kv_heads * width * groups]; in cells that are not used, any.
        queries: in which cell each query's answer is; answers lie [rows, width * groups,
            kv_heads], int64 [tokens * heads].
    """

    cells: torch.Tensor
    queries: torch.Tensor


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
        prompt: one row for all tokens.
        rectangle: where rows have several tokens each; None: one token a row, or a prompt.
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
    rectangle: Rectangle | None
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
    # Once for the line, not for each segment.
    key, value = key.contiguous(), value.contiguous()
    parts: list[torch.Tensor] = []
    for each in segments:
        part = slice(each.start, each.stop)
        asked = query[part]
        keys, values = write(each, key[part], value[part])
        if each.prompt:
            out = chunk_attention(
                asked, keys[0], values[0], bias=each.bias, scale=scale, softcap=softcap
            )
        else:
            asked = _in_rows(asked, keys, each.rectangle)
            out = decode_attention(
                asked, keys, values, bias=each.bias, scale=scale, softcap=softcap
            )
            out = _in_line(out, each)
        parts.append(out)
    if padding:
        first = parts[0]
        parts.append(first.new_zeros([padding, first.shape[1], first.shape[2]]))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _in_rows(query: torch.Tensor, keys: torch.Tensor, rectangle: Rectangle | None) -> torch.Tensor:
    """Return [tokens, heads, dim] as [rows, kv_heads, queries, dim]."""
    if rectangle is not None:
        query = query.reshape(-1, keys.shape[3]).index_select(0, rectangle.cells)
    return query.reshape(keys.shape[0], keys.shape[1], -1, keys.shape[3])


def _in_line(answers: torch.Tensor, segment: LayerSegment) -> torch.Tensor:
    """Return [rows, kv_heads, queries, dim] as [tokens, heads, dim]."""
    rectangle = segment.rectangle
    if rectangle is None:
        return answers.flatten(1, 2)
    # Torch's fused attention on a CPU leaves them in this order, so nothing is copied.
    answers = answers.transpose(1, 2).reshape(-1, answers.shape[3])
    answers = answers.index_select(0, rectangle.queries)
    return answers.view(segment.stop - segment.start, -1, answers.shape[1])
