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
    MptConfig,
    MptForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from services.worker.engine.support import check_supported, has_own_attention
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


def mistral(window):
    return MistralForCausalLM(MistralConfig(**TINY, sliding_window=window))


def bloom():
    return BloomForCausalLM(BloomConfig(vocab_size=32, hidden_size=16, n_layer=1, n_head=2))


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


@pytest.mark.parametrize(
    "model",
    [
        lambda: LlamaForCausalLM(LlamaConfig(**TINY)),
        lambda: Qwen2ForCausalLM(Qwen2Config(**TINY)),
        lambda: mistral(None),
        lambda: mistral(64),
        bloom,
        lambda: mpt(64),
        lambda: gpt_neo(64),
    ],
)
def test_attention_based_decoders_are_served(model):
    check_supported(model(), max_model_len=64)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: mistral(63), "slides over 63 tokens"),
        (lambda: gpt_neo(63), "slides over 63 tokens"),
        (lambda: mpt(63), "its context is 63 tokens"),
        (
            lambda: Gemma3ForCausalLM(Gemma3TextConfig(**TINY, sliding_window=8)),
            "slides over 8 tokens",
        ),
        (
            lambda: Qwen2ForCausalLM(
                Qwen2Config(**TINY, use_sliding_window=True, sliding_window=8, max_window_layers=1)
            ),
            "slides over 8 tokens",
        ),
        (lambda: Gemma2ForCausalLM(Gemma2Config(**TINY)), "caps attention scores"),
        (
            lambda: T5ForConditionalGeneration(
                T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
            ),
            "has an encoder",
        ),
        (
            lambda: MambaForCausalLM(
                MambaConfig(vocab_size=32, hidden_size=16, state_size=4, num_hidden_layers=1)
            ),
            "recurrent state",
        ),
    ],
)
def test_what_would_run_wrongly_is_refused_with_the_reason(model, reason):
    with pytest.raises(ModelNotSupported, match=reason):
        check_supported(model(), max_model_len=64)


def test_a_window_as_long_as_the_context_is_served():
    check_supported(mistral(8), max_model_len=8)


def test_who_runs_with_its_own_attention():
    assert has_own_attention(bloom())
    assert not has_own_attention(mistral(None))
