from types import SimpleNamespace

import pytest
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    MptConfig,
    MptForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from services.worker.engine.support import check_supported, has_own_attention, slides
from shared.errors import ModelNotSupported

pytestmark = pytest.mark.torch

TINY = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
SLIDING = ["sliding_attention", "full_attention"]


def mistral(window):
    return MistralForCausalLM(MistralConfig(**TINY, sliding_window=window))


def qwen2(**options):
    return Qwen2ForCausalLM(Qwen2Config(**TINY, **options))


def gemma3():
    config = Gemma3TextConfig(**TINY, sliding_window=8, layer_types=SLIDING)
    return Gemma3ForCausalLM(config)


def llama_with(**options):
    """What has another kind of layer, or parts that are not text, told by its config alone."""
    model = LlamaForCausalLM(LlamaConfig(**TINY))
    for name, value in options.items():
        setattr(model.config, name, value)
    return model


def bloom(**options):
    """It stands for all that run with the attention of their own class."""
    config = BloomConfig(vocab_size=32, hidden_size=16, n_layer=1, n_head=2, **options)
    return BloomForCausalLM(config)


def mpt(context):
    return MptForCausalLM(
        MptConfig(vocab_size=32, d_model=16, n_layers=1, n_heads=2, max_seq_len=context)
    )


def gpt_neo(window):
    kinds = [[["global", "local"], 1]]
    return GPTNeoForCausalLM(
        GPTNeoConfig(
            vocab_size=32,
            hidden_size=16,
            num_layers=2,
            num_heads=2,
            attention_types=kinds,
            window_size=window,
        )
    )


def t5():
    config = T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    return T5ForConditionalGeneration(config)


def mamba():
    config = MambaConfig(vocab_size=32, hidden_size=16, state_size=4, num_hidden_layers=1)
    return MambaForCausalLM(config)


@pytest.mark.parametrize(
    "model",
    [
        lambda: LlamaForCausalLM(LlamaConfig(**TINY)),
        qwen2,
        lambda: qwen2(use_sliding_window=True, sliding_window=8, layer_types=SLIDING),
        lambda: mistral(None),
        lambda: mistral(8),
        gemma3,
        lambda: Gemma2ForCausalLM(Gemma2Config(**TINY)),
        bloom,
        lambda: bloom(sliding_window=64),
        lambda: mpt(64),
        lambda: gpt_neo(64),
    ],
)
def test_attention_based_decoders_are_served(model):
    check_supported(model(), max_model_len=64)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: gpt_neo(63), "slides over 63 tokens; with LLMZOO_MAX_MODEL_LEN=63"),
        (lambda: bloom(sliding_window=63), "slides over 63 tokens"),
        (lambda: mpt(63), "its context is 63 tokens; with LLMZOO_MAX_MODEL_LEN=63"),
        (lambda: bloom(attn_logit_softcapping=30.0), "caps attention scores"),
        (
            lambda: llama_with(layer_types=["full_attention", "linear_attention"]),
            "linear_attention",
        ),
        (lambda: llama_with(layer_types=["chunked_attention"] * 2), "chunked_attention"),
        (lambda: llama_with(get_text_config=lambda **_: SimpleNamespace()), "more than text"),
        (t5, "has an encoder"),
        (mamba, "recurrent state"),
    ],
)
def test_what_would_run_wrongly_is_refused_with_the_reason(model, reason):
    with pytest.raises(ModelNotSupported, match=reason):
        check_supported(model(), max_model_len=64)


def test_a_window_as_long_as_the_context_is_served():
    check_supported(gpt_neo(8), max_model_len=8)


def test_experts_are_served_and_not_in_deterministic_mode():
    model = MixtralForCausalLM(MixtralConfig(**TINY, num_local_experts=2))
    check_supported(model, max_model_len=64)
    with pytest.raises(ModelNotSupported, match="experts would mix"):
        check_supported(model, max_model_len=64, deterministic=True)
    check_supported(mistral(None), max_model_len=64, deterministic=True)


def test_who_runs_with_its_own_attention():
    assert has_own_attention(bloom())
    assert not has_own_attention(mistral(None))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (lambda: mistral(8), True),
        (lambda: mistral(None), False),
        (gemma3, True),
        (lambda: qwen2(sliding_window=8), False),
        (bloom, False),
    ],
)
def test_who_slides(model, expected):
    assert slides(model().config) is expected
