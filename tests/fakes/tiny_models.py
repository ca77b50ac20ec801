"""Tiny random models of many architectures, whose answers wander instead of repeating a token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf
from transformers.models.llama.modeling_llama import LlamaAttention

VOCABULARY = 131
CONTEXT = 256
EOS = 5
WINDOW = 24
"""What sliding layers see: less than most sequences of the tests have."""

_IDS = {"bos_token_id": None, "eos_token_id": EOS, "pad_token_id": None}
_BASE = {"vocab_size": VOCABULARY, "hidden_size": 48, "num_hidden_layers": 2, **_IDS}
# GPT's and its children's, which name the rest in ways of their own.
SMALL = _BASE | {"num_attention_heads": 6, "tie_word_embeddings": False}
# Llama's and its children's; grouped queries.
TINY = SMALL | {
    "intermediate_size": 64,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
}
_GPT2 = {"vocab_size": VOCABULARY, "n_positions": CONTEXT, "n_embd": 48, "n_layer": 2, "n_head": 6}
_SLIDING = ["sliding_attention", "full_attention"]
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32, "num_experts": 4}
_GEMMA = TINY | {"head_dim": 8}


def _mistral(window: int | None) -> Any:
    return hf.MistralForCausalLM(hf.MistralConfig(**TINY, sliding_window=window))


def _qwen2(**options: Any) -> Any:
    return hf.Qwen2ForCausalLM(hf.Qwen2Config(**TINY, **options))


def _gemma2() -> Any:
    config = hf.Gemma2Config(
        **_GEMMA,
        layer_types=_SLIDING,
        sliding_window=WINDOW,
        query_pre_attn_scalar=8,
        # So low that what ignores it answers otherwise.
        attn_logit_softcapping=1.5,
        final_logit_softcapping=20.0,
    )
    # Only the eager attention of transformers heeds the cap.
    return hf.Gemma2ForCausalLM._from_config(config, attn_implementation="eager")


def _gemma3() -> Any:
    config = hf.Gemma3TextConfig(
        **_GEMMA, layer_types=_SLIDING, sliding_window=WINDOW, query_pre_attn_scalar=8
    )
    return hf.Gemma3ForCausalLM(config)


def _gpt_neo() -> Any:
    config = hf.GPTNeoConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        num_layers=2,
        num_heads=6,
        attention_types=[[["global", "local"], 1]],
        window_size=CONTEXT,
        max_position_embeddings=CONTEXT,
        **_IDS,
    )
    return hf.GPTNeoForCausalLM(config)


class UnevenLlama(hf.LlamaForCausalLM):
    """Its second layer has more KV heads than its first."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        other = hf.LlamaConfig(**TINY | {"num_key_value_heads": 3})
        attention = LlamaAttention(other, layer_idx=1)
        attention.config = config
        self.model.layers[1].self_attn = attention


# The engine's own forward pass.
DECODERS: dict[str, Callable[[], Any]] = {
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**TINY)),
    "llama, biases": lambda: hf.LlamaForCausalLM(
        hf.LlamaConfig(**TINY, attention_bias=True, head_dim=16)
    ),
    "mistral": lambda: _mistral(None),
    "mistral, sliding": lambda: _mistral(WINDOW),
    "qwen2": _qwen2,
    "qwen2, sliding": lambda: _qwen2(
        use_sliding_window=True, sliding_window=WINDOW, layer_types=_SLIDING
    ),
    "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**TINY, head_dim=16)),
}
# transformers' forward pass with the engine's attention.
STOCK: dict[str, Callable[[], Any]] = {
    "gemma": lambda: hf.GemmaForCausalLM(hf.GemmaConfig(**_GEMMA)),
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "llama, uneven": lambda: UnevenLlama(hf.LlamaConfig(**TINY)),
    "gpt-neox": lambda: hf.GPTNeoXForCausalLM(
        hf.GPTNeoXConfig(**SMALL, intermediate_size=64, max_position_embeddings=CONTEXT)
    ),
    "gpt2": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**_GPT2, **_IDS)),
    "gpt-bigcode": lambda: hf.GPTBigCodeForCausalLM(hf.GPTBigCodeConfig(**_GPT2, **_IDS)),
    "mixtral": lambda: hf.MixtralForCausalLM(hf.MixtralConfig(**TINY, num_local_experts=4)),
    "mixtral, sliding": lambda: hf.MixtralForCausalLM(
        hf.MixtralConfig(**TINY, num_local_experts=4, sliding_window=WINDOW)
    ),
    "qwen3-moe": lambda: hf.Qwen3MoeForCausalLM(
        hf.Qwen3MoeConfig(**TINY, **_EXPERTS, decoder_sparse_step=1, head_dim=8)
    ),
    "olmo2": lambda: hf.Olmo2ForCausalLM(hf.Olmo2Config(**TINY)),
    "opt": lambda: hf.OPTForCausalLM(
        hf.OPTConfig(**SMALL, ffn_dim=64, word_embed_proj_dim=48, max_position_embeddings=CONTEXT)
    ),
    "phi": lambda: hf.PhiForCausalLM(hf.PhiConfig(**TINY, partial_rotary_factor=0.5)),
    "phi3": lambda: hf.Phi3ForCausalLM(
        hf.Phi3Config(**TINY, original_max_position_embeddings=CONTEXT)
    ),
    "phi3, sliding": lambda: hf.Phi3ForCausalLM(
        hf.Phi3Config(**TINY, original_max_position_embeddings=CONTEXT, sliding_window=WINDOW)
    ),
    "starcoder2": lambda: hf.Starcoder2ForCausalLM(
        hf.Starcoder2Config(**TINY, sliding_window=WINDOW)
    ),
}
# With the attention of their own class.
OWN_ATTENTION: dict[str, Callable[[], Any]] = {
    "bloom": lambda: hf.BloomForCausalLM(hf.BloomConfig(**SMALL)),
    "falcon, ALiBi": lambda: hf.FalconForCausalLM(
        hf.FalconConfig(**SMALL, alibi=True, multi_query=False)
    ),
    "falcon, rotary": lambda: hf.FalconForCausalLM(hf.FalconConfig(**SMALL)),
    "gpt-j": lambda: hf.GPTJForCausalLM(hf.GPTJConfig(**SMALL, n_positions=CONTEXT, rotary_dim=4)),
    "gpt-neo": _gpt_neo,
    "mpt": lambda: hf.MptForCausalLM(hf.MptConfig(**SMALL, max_seq_len=CONTEXT)),
}
MODELS = DECODERS | STOCK | OWN_ATTENTION


def make_model(name: str = "llama", dtype: torch.dtype = torch.float32) -> Any:
    """Return the model of that name, the same at each call."""
    torch.manual_seed(1)
    model = MODELS[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            # Norms and biases too: new ones are ones and zeros, which hide a lot.
            if parameter.ndim > 1:
                parameter.normal_(std=0.25)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval().to(dtype)
