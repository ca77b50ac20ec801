"""Attention over the slots, as transformers' models call it.

Owns one attention function and its registration. Knows neither the cache nor the scheduler.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import (
    sdpa_attention_forward,  # pyright: ignore[reportUnknownVariableType]
)

from shared.errors import ModelNotSupported

ATTENTION = "llmzoo"

# Arguments that change the result and that the functions below do not honour.
_UNSUPPORTED = ("softcap", "s_aux", "position_bias", "cache")


def register() -> None:
    """Make `ATTENTION` known to transformers; a second call changes nothing.

    No mask function is registered under the name, so transformers makes no mask of its own:
    the model runner gives a 4-D mask, or None for plain causal attention.
    """
    AttentionInterface.register(  # pyright: ignore[reportUnknownMemberType]
        ATTENTION, attention
    )


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Return attention's output, [rows, queries, heads, head_dim], and no weights.

    Args:
        module: the layer, which knows its number of query heads per KV head.
        query: [rows, heads, queries, head_dim].
        key: [rows, kv_heads, length, head_dim], as the cache returns it.
        value: like `key`; its head_dim may differ.
        attention_mask: added to the scores, [rows, 1, queries, length]; None: causal.
        scaling: factor of the scores, by default head_dim ** -0.5.
        kwargs: what else transformers passes on.

    Raises:
        ModelNotSupported: the model asks for a variant of attention that is not served.
    """
    for name in _UNSUPPORTED:
        if kwargs.get(name) is not None:
            msg = f"attention with {name} is not supported"
            raise ModelNotSupported(msg)
    if query.shape[2] > 1 or query.device.type != "cpu":
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
    factor: float = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _decode_attention(query, key, value, attention_mask, factor), None


def _decode_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float,
) -> torch.Tensor:
    """Attend with one query per row.

    The query heads of a KV group become the rows of one small matrix, so that keys and values
    are read once a group and never repeated; SDPA with grouped heads is 20 times slower here.
    """
    rows, heads, _, head_dim = query.shape
    kv_heads, length = key.shape[1], key.shape[2]
    batch = rows * kv_heads
    grouped = query.reshape(batch, heads // kv_heads, head_dim)
    # Views: the cache's slots and heads are neighbours in memory.
    keys = key.reshape(batch, length, head_dim).transpose(1, 2)
    values = value.reshape(batch, length, value.shape[-1])
    if mask is None:
        scores = torch.baddbmm(query.new_zeros(1, 1, 1), grouped, keys, beta=0, alpha=scaling)
    else:
        added = mask.expand(rows, kv_heads, 1, length).reshape(batch, 1, length)
        scores = torch.baddbmm(added, grouped, keys, alpha=scaling)
    out = torch.bmm(torch.softmax(scores, dim=-1), values)
    return out.view(rows, 1, heads, value.shape[-1])
