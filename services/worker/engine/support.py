"""Which models this engine serves: attention-based decoders, told from their config.

Owns the refusals, and whose attention a model runs with. Reads attributes of config and class
only and runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedModel

from shared.errors import ModelNotSupported

_FULL = "full_attention"
_SLIDING = "sliding_attention"
_EXPERTS = ("num_experts_per_tok", "num_local_experts", "num_experts")
_LOCAL = "local"  # GPT-Neo's word for a sliding layer, in `attention_layers`


def check_supported(
    model: PreTrainedModel, max_model_len: int, *, deterministic: bool = False
) -> None:
    """Refuse what the engine would run wrongly.

    Raises:
        ModelNotSupported: the sentence says what the model needs.
    """
    fault = next(_faults(model, model.config, max_model_len), None)
    if fault is None and deterministic and _has_experts(model.config):
        # Their products have as many rows as tokens were sent to them, whosever those are.
        fault = "in deterministic mode its experts would mix what different requests compute"
    if fault is not None:
        msg = f"{type(model).__name__} cannot be served: {fault}"
        raise ModelNotSupported(msg)


def slides(config: Any) -> bool:
    """Tell whether some layers see a window of the context only."""
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    return window is not None and (kinds is None or _SLIDING in kinds)


def has_own_attention(model: PreTrainedModel) -> bool:
    """Tell whether the model must run with its own attention, as ALiBi's models must.

    transformers lets the attention of all others be replaced by the engine's.
    """
    return not getattr(model, "_supports_attention_backend", False)


def _faults(model: PreTrainedModel, config: Any, max_model_len: int) -> Iterator[str]:
    if getattr(config, "is_encoder_decoder", False):
        yield "it has an encoder"
    if config.get_text_config(decoder=True) is not config:
        yield "it takes more than text"
    if getattr(model, "_is_stateful", False):
        yield "it keeps a recurrent state, not keys and values"
    kinds = set[str](getattr(config, "layer_types", None) or ())
    if others := kinds - {_FULL, _SLIDING}:
        yield f"it has layers of the kind {', '.join(sorted(others))}"
    if not has_own_attention(model):
        return
    if getattr(config, "attn_logit_softcapping", None) is not None:
        yield "it caps attention scores"
    window = getattr(config, "sliding_window", None) if kinds != {_FULL} else None
    if _LOCAL in (getattr(config, "attention_layers", None) or ()):
        window = config.window_size
    if window is not None and window < max_model_len:
        yield _too_long(f"its attention slides over {window} tokens", window)
    context = getattr(config, "max_seq_len", max_model_len)
    if context < max_model_len:
        yield _too_long(f"its context is {context} tokens", context)


def _has_experts(config: Any) -> bool:
    return any(getattr(config, name, None) for name in _EXPERTS)


def _too_long(why: str, tokens: int) -> str:
    return f"{why}; with LLMZOO_MAX_MODEL_LEN={tokens} it can be served"
