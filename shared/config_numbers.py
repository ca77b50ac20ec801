"""What a config.json says in numbers, whatever its architecture calls them.

Owns these names. Knows neither torch nor transformers' classes: what a config leaves to the
defaults of its class is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

# One number each, by the names that architectures give it.
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "kv_n_heads")
WIDTH = ("hidden_size", "n_embd", "n_embed", "d_model")
VOCABULARY = ("vocab_size",)
# Most configs, MPT's, and BLOOM's, whose ALiBi would go further than it was trained.
CONTEXT = ("max_position_embeddings", "max_seq_len", "seq_length")


def kv_bytes_per_token(config: Mapping[str, Any], dtype_bytes: int) -> int | None:
    """Return the bytes that a token's keys and values take in all layers; None: not known."""
    layers, heads, width = (number_of(config, names) for names in (_LAYERS, _HEADS, WIDTH))
    if layers is None or heads is None:
        return None
    if rope := config.get("qk_rope_head_dim"):  # DeepSeek's keys, longer than its values
        size = config.get("qk_nope_head_dim", 0) + rope + config.get("v_head_dim", 0)
        return layers * heads * size * dtype_bytes
    head_dim = config.get("head_dim") or (width and width // heads)
    return head_dim and layers * 2 * _kv_heads(config, heads) * head_dim * dtype_bytes


def _kv_heads(config: Mapping[str, Any], heads: int) -> int:
    if config.get("multi_query") and not config.get("new_decoder_architecture"):
        return 1
    attention = config.get("attn_config")  # MPT's
    if isinstance(attention, Mapping):
        config = {**config, **cast("Mapping[str, Any]", attention)}
    return number_of(config, _KV_HEADS) or heads


def number_of(config: Mapping[str, Any], names: Iterable[str]) -> int | None:
    """Return the first of these that is a number, None where none is."""
    found = (config.get(name) for name in names)
    return next((number for number in found if isinstance(number, int) and number > 0), None)
