"""Attention of new tokens to rows of the KV cache.

Owns the products, for one token a row and for a chunk of one row, on CPU and GPU. Keeps no state
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
    softcap: float | None = None,
) -> torch.Tensor:
    """Attend with one query a row; return [rows, heads, value_dim].

    Args:
        query: [rows, heads, head_dim].
        keys: [rows, kv_heads, length, head_dim], rows and heads neighbours in memory.
        values: like `keys`; its head_dim may differ.
        bias: [rows x kv_heads, length, 1], the same for all heads of a row; None: every row has
            `length` tokens.
        scale: factor of the scores.
        softcap: scores become softcap * tanh(score / softcap).
    """
    if query.device.type != "cpu" and softcap is None:
        mask = None if bias is None else bias.view(len(query), -1, 1, bias.shape[1])[:, :1]
        out = functional.scaled_dot_product_attention(
            query[:, :, None], keys, values, attn_mask=mask, scale=scale, enable_gqa=True
        )
        return out[:, :, 0]
    rows, heads, head_dim = query.shape
    kv_heads, length = keys.shape[1], keys.shape[2]
    batch, groups = rows * kv_heads, heads // kv_heads
    # The query heads of a KV group become the columns of one small matrix, so that keys and values
    # are read once a group, as they lie, and never repeated. With the keys on the left the product
    # is up to four times as fast as with the queries there (bfloat16 on AMX).
    asked = query.reshape(batch, groups, head_dim).transpose(1, 2)
    keys, values = keys.reshape(batch, length, head_dim), values.reshape(batch, length, -1)
    if bias is None or softcap is not None:
        scores = torch.bmm(keys, asked).mul_(scale)
    else:
        scores = torch.baddbmm(bias, keys, asked, alpha=scale)
    if softcap is not None:
        scores = _capped(scores, softcap)
        scores = scores if bias is None else scores + bias
    weights = torch.softmax(scores.transpose(1, 2), dim=-1)
    return torch.bmm(weights, values).view(rows, heads, -1)


def chunk_attention(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    *,
    bias: torch.Tensor | None,
    scale: float,
    softcap: float | None = None,
) -> torch.Tensor:
    """Attend with the last tokens of one row; return [tokens, heads, value_dim].

    Args:
        query: [tokens, heads, head_dim].
        keys: [kv_heads, length, head_dim]; the last `tokens` of the length are the queries' own.
        values: like `keys`; its head_dim may differ.
        bias: [tokens, length]; None: causal, and there is nothing before the chunk.
        scale: factor of the scores.
        softcap: as in `decode_attention`.
    """
    asked = query.transpose(0, 1)[None]
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
    groups = query.shape[1] // keys.shape[0]
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
    lengths: torch.Tensor, longest: int, window: int | None, kv_heads: int, dtype: torch.dtype
) -> torch.Tensor:
    """Return the bias [rows x kv_heads, longest, 1] of rows of different lengths.

    Args:
        lengths: of the rows, the new token included, int64 [rows].
        longest: the number of columns.
        window: as in `causal_bias`.
        kv_heads: how often each row is repeated.
        dtype: of the scores.
    """
    columns = torch.arange(longest, device=lengths.device)
    hidden = columns >= lengths[:, None]
    if window is not None:
        hidden |= columns < lengths[:, None] - window
    bias = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
    bias.masked_fill_(hidden, float("-inf"))
    return bias.repeat_interleave(kv_heads, 0)[:, :, None]


def _capped(scores: torch.Tensor, softcap: float) -> torch.Tensor:
    """As in Gemma 2 (Gemma Team, 2024)."""
    return torch.tanh(scores / softcap) * softcap
