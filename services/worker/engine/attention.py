"""Attention of new tokens to rows of the KV cache.

Owns the products, for few tokens of many rows and for a chunk of one row, on CPU and GPU. Keeps no state
and knows neither layers nor sequences.

Biases are added to the scaled scores: 0 and -inf as masks, or a function of the distance (ALiBi).
"""

from __future__ import annotations

import torch
from torch.nn import functional


def decode_attention(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    *,
    bias: torch.Tensor | None,
    scale: float,
    softcap: float | None,
) -> torch.Tensor:
    """Attend with the last tokens of each row; return [rows, kv_heads, queries, value_dim].

    The query heads of a KV group, of all of a row's tokens, stand as queries of one head, so that
    keys and values are read once a group, as they lie, and never repeated.

    Args:
        query: [rows, kv_heads, queries, head_dim].
        keys: [rows, kv_heads, length, head_dim], rows and heads neighbours in memory.
        values: like `keys`; its head_dim may differ.
        bias: [rows, queries, length], or [rows, 1, length] for all; None: all see all of their row.
        scale: factor of the scores.
        softcap: scores become softcap * tanh(score / softcap).
    """
    rows, kv_heads, queries, _ = query.shape
    mask = None if bias is None else bias[:, None].expand(rows, kv_heads, queries, -1)
    if softcap is None:
        return functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, scale=scale
        )
    scores = _capped(query @ keys.transpose(2, 3) * scale, softcap)
    weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
    return weights @ values


def chunk_attention(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    *,
    bias: torch.Tensor | None,
    scale: float,
    softcap: float | None,
) -> torch.Tensor:
    """Attend with the last tokens of one row; return [tokens, heads, value_dim].

    Args:
        query: [tokens, heads, head_dim]; the heads may be two dimensions, kv_heads and groups.
        keys: [kv_heads, length, head_dim]; the last `tokens` of the length are the queries' own.
        values: like `keys`; its head_dim may differ.
        bias: [tokens, length]; None: causal, and there is nothing before the chunk.
        scale: factor of the scores.
        softcap: as in `decode_attention`.
    """
    asked = query.reshape(len(query), -1, query.shape[-1]).transpose(0, 1)[None]
    if softcap is None:
        out = functional.scaled_dot_product_attention(
            asked,
            keys[None],
            values[None],
            attn_mask=bias,
            is_causal=bias is None,
            scale=scale,
            enable_gqa=True,
        )
        return out[0].transpose(0, 1)
    groups = asked.shape[1] // keys.shape[0]
    keys, values = keys.repeat_interleave(groups, 0), values.repeat_interleave(groups, 0)
    scores = _capped(asked[0] @ keys.transpose(1, 2) * scale, softcap)
    tokens, length = scores.shape[1:]
    bias = causal_bias(tokens, length, None, scores) if bias is None else bias
    return (torch.softmax(scores + bias, dim=-1) @ values).transpose(0, 1)


def causal_bias(tokens: int, length: int, window: int | None, like: torch.Tensor) -> torch.Tensor:
    """Return the bias [tokens, length] of the last tokens of a row.

    Args:
        tokens: the number of queries.
        length: of the row, the queries' own tokens included.
        window: a token sees this many tokens, itself included; None: all before it.
        like: gives dtype and device.
    """
    hidden = torch.full((tokens, length), float("-inf"), dtype=like.dtype, device=like.device)
    bias = hidden.triu(length - tokens + 1)
    if window is None or length <= window:
        return bias
    return bias + hidden.tril(length - tokens - window)


def row_bias(
    seen: torch.Tensor, length: int, window: int | None, dtype: torch.dtype
) -> torch.Tensor:
    """Return the bias [rows, queries, length] of the last tokens of rows of different lengths.

    Args:
        seen: how many of its row's tokens each sees, itself included, int64 [rows, queries].
        length: the number of columns.
        window: as in `causal_bias`.
        dtype: of the scores.
    """
    columns = torch.arange(length, device=seen.device)
    hidden = columns >= seen[..., None]
    if window is not None:
        hidden |= columns < seen[..., None] - window
    bias = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
    return bias.masked_fill_(hidden, float("-inf"))


def _capped(scores: torch.Tensor, softcap: float) -> torch.Tensor:
    """As in Gemma 2 (Gemma Team, 2024)."""
    return torch.tanh(scores / softcap) * softcap
