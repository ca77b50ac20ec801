"""What a model takes, from configs as their authors write them and from files' headers."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from services.worker.models.footprint import footprint
from services.worker.models.packing import PackingChoice
from shared.compression.scheme import Scheme
from shared.config_numbers import kv_bytes_per_token
from tests.fakes.model_files import save_folder, tiny_llama

pytestmark = pytest.mark.torch

WHOLE = PackingChoice(is_packed=False)

# Fields that decide, as in each model's config.json; bytes of a token in bfloat16.
CONFIGS = {
    "Llama-2-7B": (
        {"hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 32},
        2 * 32 * 4096 * 2,
    ),
    "Llama-3-8B, grouped": (
        {
            "hidden_size": 4096,
            "num_attention_heads": 32,
            "num_hidden_layers": 32,
            "num_key_value_heads": 8,
            "head_dim": None,
        },
        2 * 32 * 8 * 128 * 2,
    ),
    "Qwen3-30B-A3B, experts": (
        {
            "head_dim": 128,
            "hidden_size": 2048,
            "moe_intermediate_size": 768,
            "num_attention_heads": 32,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "num_hidden_layers": 48,
            "num_key_value_heads": 4,
        },
        2 * 48 * 4 * 128 * 2,
    ),
    "BLOOM-7B1": ({"n_layer": 30, "n_head": 32, "hidden_size": 4096}, 2 * 30 * 4096 * 2),
    "GPT-2": ({"n_layer": 12, "n_head": 12, "n_embd": 768}, 2 * 12 * 768 * 2),
    "MPT-7B": ({"n_layers": 32, "n_heads": 32, "d_model": 4096}, 2 * 32 * 4096 * 2),
    "MPT, grouped": (
        {"n_layers": 4, "n_heads": 8, "d_model": 512, "attn_config": {"kv_n_heads": 2}},
        2 * 4 * 2 * 64 * 2,
    ),
    "Falcon-7B, one head": (
        {
            "hidden_size": 4544,
            "multi_query": True,
            "new_decoder_architecture": False,
            "num_attention_heads": 71,
            "num_hidden_layers": 32,
            "num_kv_heads": 71,
        },
        2 * 32 * 64 * 2,
    ),
    "DeepSeek-V2-Lite": (
        {
            "hidden_size": 2048,
            "num_attention_heads": 16,
            "num_hidden_layers": 27,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
        },
        27 * 16 * (192 + 128) * 2,
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_bytes_of_a_token(name):
    config, expected = CONFIGS[name]
    assert kv_bytes_per_token(config, 2) == expected
    assert kv_bytes_per_token(config, 4) == 2 * expected


@pytest.mark.parametrize("config", [{}, {"n_layer": 3}, {"d_inner": 3072, "num_layers": 24}])
def test_what_has_no_heads_is_not_known(config):
    assert kv_bytes_per_token(config, 2) is None


def measured(folder, config, packing=WHOLE, dtype_bytes=4, *, copies_tied_head=False):
    files = sorted(folder.glob("*.safetensors"))
    return footprint(
        files, config, packing, dtype_bytes=dtype_bytes, copies_tied_head=copies_tied_head
    )


def test_the_weights_are_those_of_the_model_in_memory(tmp_path):
    model = tiny_llama()
    folder = save_folder(model, tmp_path / "tiny")
    config = model.config.to_dict()
    numbers = sum(parameter.numel() for parameter in model.parameters())

    assert measured(folder, config).weights == 4 * numbers
    assert measured(folder, config, dtype_bytes=2).weights == 2 * numbers
    head = model.config.vocab_size * model.config.hidden_size
    copied = measured(folder, config, dtype_bytes=2, copies_tied_head=True)
    assert copied.weights == 2 * (numbers + head)


@pytest.mark.parametrize(("kind", "option"), [("int8", "--load-8bit"), ("int4", "--load-4bit")])
def test_compressed_weights_are_those_of_packed_layers(tmp_path, kind, option):
    from shared.compression.packed_linear import PackedLinear  # noqa: PLC0415 - as torch is

    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 96, bias=False)
    embedding = torch.randn(10, 64)
    weights = {"model.embed_tokens.weight": embedding, "up_proj.weight": linear.weight.detach()}
    save_file(weights, tmp_path / "model.safetensors")
    scheme = Scheme(kind, 32, symmetric=False)
    stored = PackedLinear.from_linear(linear, scheme).state_dict().values()
    expected = 4 * embedding.numel() + sum(tensor.nbytes for tensor in stored)

    whole = measured(tmp_path, {})
    asked = measured(tmp_path, {}, PackingChoice(is_packed=True, scheme=scheme))

    assert whole.compressed[option] == asked.weights == expected
    assert option not in asked.compressed


def test_what_is_quantised_already_is_taken_as_it_is(tmp_path):
    save_file({"q": torch.zeros(8, 8, dtype=torch.int32)}, tmp_path / "model.safetensors")
    config = {"quantization_config": {"quant_method": "gptq"}}

    size = measured(tmp_path, config)

    assert (size.weights, size.compressed) == (256, {})


def test_pickles_are_as_large_as_their_files(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"0" * 1000)

    size = footprint(
        [tmp_path / "pytorch_model.bin"],
        {"torch_dtype": "float16"},
        WHOLE,
        dtype_bytes=4,
        copies_tied_head=False,
    )

    assert (size.weights, size.compressed) == (2000, {})
