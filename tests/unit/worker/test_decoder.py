"""The fused decoder: which models it takes, and its way on a GPU as far as a CPU can show it."""

import copy

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from services.worker.engine.decoder import Decoder, is_llama_shaped
from services.worker.engine.decoder_layers import compile_parts
from services.worker.engine.kv_cache import KVCache
from services.worker.engine.scheduler import Chunk
from services.worker.engine.sequence import SamplingParams, Sequence
from services.worker.engine.step import make_step
from shared.compression import Scheme, compress_module
from tests.fakes.layouts import make_layout

pytestmark = pytest.mark.torch

LAYERS = 12
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


def prompt_logits(decoder, prompt, dtype=torch.float32):
    sequence = Sequence("a", 0, prompt, SamplingParams(max_tokens=1, seed=0))
    sequence.computed = len(prompt)
    chunk = Chunk(sequence, 0, len(prompt), len(prompt))
    with torch.inference_mode():
        cache = KVCache(make_layout(LAYERS, kv_heads=2, dim=8, dtype=dtype))
        return decoder.logits(make_step((), (chunk,), cache, CPU), None)


def test_it_computes_what_the_model_does(model):
    prompt = tuple(range(3, 20))
    with torch.inference_mode():
        expected = model(torch.tensor([prompt])).logits[0]
    logits = prompt_logits(Decoder(copy.deepcopy(model)), prompt)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_a_subclass_from_elsewhere_is_not_taken_for_a_llama(model):
    class LlamaForCausalLM(type(model)):
        pass

    assert is_llama_shaped(model)
    assert not is_llama_shaped(LlamaForCausalLM(model.config))
    assert not is_llama_shaped(GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2)))


def test_what_a_gpu_compiles_is_one_graph_for_all_layers(model):
    prompt = tuple(range(5, 21))
    plain = Decoder(copy.deepcopy(model))
    expected = prompt_logits(plain, prompt)
    counter = CompileCounter()
    compile_parts(plain.layers, backend=counter, fullgraph=True)
    plain._run = plain.layers

    first = prompt_logits(plain, prompt)
    compiled = counter.frame_count
    again = prompt_logits(plain, prompt)

    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(again, expected)
    assert counter.frame_count == compiled, "nothing is compiled for a length that was seen"
    # Before and after attention, each once for the first layer's and once for the others' inputs.
    assert compiled <= 4 < LAYERS


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scheme", [None, Scheme("int8"), Scheme("int4")], ids=str)
def test_without_python_the_layers_compute_the_same_to_the_last_bit(model, dtype, scheme):
    taken = copy.deepcopy(model).to(dtype)
    if scheme is not None:
        compress_module(taken, scheme)
    decoder = Decoder(taken)
    # Without instructions for bf16, and in fp32 with codes, products go block by block in Python.
    assert (decoder._run is decoder.layers) != all(
        each.compiles for each in decoder._multiplications
    )
    assert (decoder._run is decoder.layers) or scheme is None or dtype == torch.bfloat16

    prompt = tuple(range(3, 30))
    logits = prompt_logits(decoder, prompt, dtype)
    decoder._run = decoder.layers

    assert torch.equal(logits, prompt_logits(decoder, prompt, dtype))


def test_an_activation_that_is_no_epilogue_runs_in_python(model):
    config = copy.deepcopy(model.config)
    config.hidden_act = "gelu"
    model = LlamaForCausalLM(config).eval()
    prompt = tuple(range(3, 20))
    with torch.inference_mode():
        expected = model(torch.tensor([prompt])).logits[0]

    decoder = Decoder(model)

    assert decoder._run is decoder.layers
    torch.testing.assert_close(prompt_logits(decoder, prompt), expected, rtol=1e-4, atol=1e-4)
