"""transformers' forward pass with the engine's attention: what is asked for, and what is refused."""

from types import SimpleNamespace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GptOssConfig, GptOssForCausalLM

from services.worker.engine.kv_cache import KVCache
from services.worker.engine.scheduler import Chunk
from services.worker.engine.step import make_step
from services.worker.engine.stock_forward import StockForward
from services.worker.engine.trial import find_layout
from shared.errors import ModelNotSupported
from tests.fakes.engines import greedy, make_engine, make_prompts
from tests.fakes.layouts import make_layout
from tests.fakes.tiny_models import STOCK, TINY, make_model

pytestmark = pytest.mark.torch


def prompt_step(prompt, layout):
    sequence = greedy("a", prompt, 1)
    sequence.computed = len(prompt)
    chunk = Chunk(sequence, 0, len(prompt), len(prompt))
    return make_step((), (chunk,), KVCache(layout), torch.device("cpu"))


@pytest.mark.parametrize("name", STOCK)
@torch.inference_mode()
def test_the_logits_of_every_token_are_the_models_own(name):
    model = make_model(name)
    (prompt,) = make_prompts(1, lengths=[70])
    expected = model(input_ids=torch.tensor([prompt])).logits[0]
    forward = StockForward(model)
    layout = find_layout(model, forward)

    every, some, none = (
        forward.logits(prompt_step(prompt, layout), wanted) for wanted in (None, [3, 69], [])
    )

    torch.testing.assert_close(every, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(some, expected[[3, 69]], rtol=1e-3, atol=1e-3)
    assert none.shape == (0, expected.shape[1])


@torch.inference_mode()
def test_a_scale_that_is_not_given_has_the_usual_default():
    forward = StockForward(make_model("gpt2"))
    forward._step = prompt_step((7, 8, 9), make_layout(3, kv_heads=2, dim=16))
    states = torch.randn(3, 1, 2, 3, 16)

    default, given, other = (
        forward._attend(SimpleNamespace(layer_idx=i), *states, None, scaling=scale)[0]
        for i, scale in enumerate((None, 0.25, 0.3))
    )

    assert torch.equal(default, given)
    assert not torch.equal(default, other)


@pytest.mark.parametrize("variant", ["s_aux", "position_bias", "cache"])
def test_a_variant_that_is_not_served_is_refused(variant):
    forward = StockForward(make_model("gpt2"))
    states = torch.zeros(3, 1, 1, 1, 4)

    with pytest.raises(ModelNotSupported, match=variant):
        forward._attend(SimpleNamespace(layer_idx=0), *states, None, **{variant: 1.0})


def test_a_model_that_asks_for_such_a_variant_is_refused_before_it_is_served():
    config = GptOssConfig(
        **TINY, head_dim=8, num_local_experts=2, num_experts_per_tok=1, sliding_window=8
    )

    with pytest.raises(ModelNotSupported, match="s_aux"):
        make_engine(GptOssForCausalLM(config).eval())


def test_a_model_that_does_not_say_which_layers_slide_is_refused():
    config = GPT2Config(vocab_size=32, n_positions=64, n_embd=16, n_layer=1, n_head=2)
    model = GPT2LMHeadModel(config).eval()
    model.config.sliding_window = 8

    with pytest.raises(ModelNotSupported, match="which layers slide"):
        make_engine(model, max_model_len=64)


class Stubborn(GPT2LMHeadModel):
    """It keeps the attention that it has."""

    def set_attn_implementation(self, *_, **__):
        return


def test_a_model_that_keeps_its_attention_is_refused():
    config = GPT2Config(vocab_size=32, n_positions=64, n_embd=16, n_layer=1, n_head=2)

    with pytest.raises(ModelNotSupported, match="does not let its attention be replaced"):
        StockForward(Stubborn(config).eval())
