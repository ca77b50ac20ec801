"""How many bytes a token's keys and values take, told from a model's config.json alone.

Owns the arithmetic, and the names that architectures give their numbers. It is that of attention
with keys and values in each layer; for anything else it says that it does not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

# One number of a config, by the names that architectures give it.
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "kv_n_heads")
WIDTH = ("hidden_size", "n_embd", "n_embed", "d_model")
VOCABULARY = ("vocab_size",)


def kv_bytes_per_token(config: Mapping[str, Any], dtype_bytes: int) -> int | None:
    """Return the bytes that a token's keys and values take in all layers; None: not known."""
    layers, heads, width = (number(config, names) for names in (LAYERS, HEADS, WIDTH))
    if layers is None or heads is None:
        return None
    if rope := config.get("qk_rope_head_dim"):  # DeepSeek's keys, longer than its values
        size = config.get("qk_nope_head_dim", 0) + rope + config.get("v_head_dim", 0)
        return layers * heads * size * dtype_bytes
    head_dim = config.get("head_dim") or (width and width // heads)
    return head_dim and layers * 2 * _kv_heads(config, heads) * head_dim * dtype_bytes


def number(config: Mapping[str, Any], names: Iterable[str]) -> int | None:
    """Return the first of these fields that is a number above 0; None: there is none."""
    found = (config.get(name) for name in names)
    return next((value for value in found if isinstance(value, int) and value > 0), None)


def _kv_heads(config: Mapping[str, Any], heads: int) -> int:
    if config.get("multi_query") and not config.get("new_decoder_architecture"):
        return 1
    attention = config.get("attn_config")  # MPT's
    if isinstance(attention, Mapping):
        config = {**config, **cast("Mapping[str, Any]", attention)}
    return number(config, KV_HEADS) or heads
