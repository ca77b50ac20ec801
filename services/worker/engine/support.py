"""Which models this engine serves: attention-based decoders, told from their config.

Owns the refusals. Reads attributes of config and class only and runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedModel

from shared.errors import ModelNotSupported

_FULL = "full_attention"
_SLIDING = "sliding_attention"


def check_supported(model: PreTrainedModel, max_model_len: int) -> None:
    """Refuse what the engine would run wrongly.

    Raises:
        ModelNotSupported: the sentence says what the model needs.
    """
    fault = next(_faults(model, model.config, max_model_len), None)
    if fault is not None:
        msg = f"{type(model).__name__} cannot be served: {fault}"
        raise ModelNotSupported(msg)


def _faults(model: PreTrainedModel, config: Any, max_model_len: int) -> Iterator[str]:
    if getattr(config, "is_encoder_decoder", False):
        yield "it has an encoder"
    if config.get_text_config(decoder=True) is not config:
        yield "it takes more than text"
    if getattr(model, "_is_stateful", False):
        yield "it keeps a recurrent state, not keys and values"
    if not getattr(model, "_supports_attention_backend", False):
        yield "its attention cannot be replaced"
    if getattr(config, "attn_logit_softcapping", None) is not None:
        yield "it caps attention scores"
    kinds = set[str](getattr(config, "layer_types", None) or ())
    if others := kinds - {_FULL, _SLIDING}:
        yield f"it has layers of the kind {', '.join(sorted(others))}"
    window = getattr(config, "sliding_window", None)
    if window is not None and window < max_model_len and kinds != {_FULL}:
        yield (
            f"its attention slides over {window} tokens; "
            f"with LLMZOO_MAX_MODEL_LEN={window} it can be served"
        )
