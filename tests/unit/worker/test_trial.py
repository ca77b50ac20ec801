"""Models that would be served wrongly are refused before they are served."""

from copy import deepcopy

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM, GPT2Config, GPT2LMHeadModel

from services.worker.engine.forward import make_forward
from services.worker.engine.trial import check_rows_agree, find_layout
from shared.errors import ModelNotSupported
from tests.fakes.layouts import make_layout
from tests.fakes.tiny_models import CONTEXT, OWN_ATTENTION, SMALL, make_model

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("llama", 2 * 2 * 2 * 8),
        ("qwen3", 2 * 2 * 2 * 16),
        ("gpt2", 2 * 2 * 48),
        ("bloom", 2 * 2 * 48),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_a_token_takes_is_measured(name, numbers, dtype):
    model = make_model(name, dtype)

    assert find_layout(model, make_forward(model)).token_bytes == numbers * dtype.itemsize


def check(model, max_model_len=CONTEXT):
    forward = make_forward(model)
    check_rows_agree(model, forward, find_layout(model, forward), max_model_len)


@pytest.mark.parametrize("name", OWN_ATTENTION)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_who_treats_rows_of_different_lengths_rightly_passes(name, dtype):
    model = make_model(name, dtype)

    check(model)


def test_a_context_shorter_than_the_trial_prompts_is_tried_too():
    model = make_model("bloom")

    check(model, 3)


class Maskless(BloomForCausalLM):
    """It looks at what lies beyond a row's end."""

    def forward(self, input_ids, attention_mask=None, **kwargs):
        if attention_mask is not None:
            attention_mask = torch.ones_like(attention_mask)
        return super().forward(input_ids, attention_mask=attention_mask, **kwargs)


class Scalar(BloomForCausalLM):
    """It fails on every input."""

    def forward(self, *_, **__):
        msg = "no room for two"
        raise ValueError(msg)


class Lazy(GPT2LMHeadModel):
    """Its second layer has no attention, as layers that share another's keys and values."""

    def __init__(self, config):
        super().__init__(config)
        self.transformer.h[1].attn.forward = lambda hidden, *_, **__: (hidden, None)


def bloom(kind):
    model = make_model("bloom")
    other = kind(BloomConfig(**SMALL)).eval()
    other.load_state_dict(deepcopy(model.state_dict()))
    return other


def test_who_does_not_heed_the_mask_is_refused():
    model = bloom(Maskless)

    with pytest.raises(ModelNotSupported, match="rows of different lengths"):
        check(model)


@pytest.mark.parametrize(
    "trial", [find_layout, lambda *_: check_rows_agree(*_, make_layout(2, 6, 8), CONTEXT)]
)
def test_what_a_model_raises_is_a_refusal_with_its_reason(trial):
    model = bloom(Scalar)

    with pytest.raises(ModelNotSupported, match=r"Scalar does not run .*: no room for two"):
        trial(model, make_forward(model))


def test_a_model_whose_layers_do_not_all_keep_keys_and_values_is_refused():
    model = Lazy(GPT2Config(vocab_size=32, n_positions=64, n_embd=16, n_layer=2, n_head=2)).eval()

    with pytest.raises(ModelNotSupported, match="keys and values for 1 layers only"):
        find_layout(model, make_forward(model))
