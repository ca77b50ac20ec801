"""Which GPUs a model may run on and how many it needs, from files and settings alone."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.gpus.need import OWN_PACKING, choose_gpus
from services.worker.gpus.nvml import Gpu
from shared.compression.packing import METHOD
from shared.errors import ConfigurationError, ModelNotSupported
from shared.settings import WorkerSettings
from tests.fakes.fake_nvml import GIB

# As large as Llama-3-8B: a token's keys and values take 128 KiB in bfloat16.
LLAMA = {
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,  # 1 GiB of them
    "torch_dtype": "bfloat16",
}


def gpus(*sizes):
    return [Gpu(str(i), f"GPU-{i}", "", int(size * GIB), 0, 0) for i, size in enumerate(sizes)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A function that makes a model's folder; its weights are a file without content."""
    folder = tmp_path_factory.mktemp("model")

    def make(gib=16, **config):
        (folder / "config.json").write_text(json.dumps(LLAMA | config))
        with (folder / "model.safetensors").open("wb") as file:
            file.truncate(int(gib * GIB))
        return folder

    return make


def needed(folder, *sizes, **settings):
    fit, count = choose_gpus(folder, WorkerSettings(**settings), gpus(*sizes))
    return [gpu.index for gpu in fit], count


@pytest.mark.parametrize(
    ("sizes", "settings", "expected"),
    [
        ([24], {}, (["0"], 1)),
        ([24, 24], {}, (["0", "1"], 1)),
        ([16, 24], {}, (["1"], 1)),  # only one of them holds it
        ([16, 16], {}, (["0", "1"], 2)),
        ([12] * 8, {}, ([*"01234567"], 2)),
        ([8] * 8, {}, ([*"01234567"], 3)),  # weights and a quarter more
        ([8, 8], {}, (["0", "1"], 2)),  # all there are; preflight tells what is missing
        ([8], {}, (["0"], 1)),
        ([24, 24], {"gpu_share": 2}, (["0", "1"], 2)),
        ([24, 24], {"dtype": "float32"}, (["0", "1"], 2)),
        ([24, 24], {"load_4bit": True, "gpu_share": 2}, (["0", "1"], 1)),
        ([24, 24], {"gpus": 2}, (["0", "1"], 2)),
    ],
)
def test_a_model_of_16_gib(model, sizes, settings, expected):
    assert needed(model(), *sizes, **settings) == expected


def test_a_long_context_counts(model):
    folder = model(max_position_embeddings=2**17)

    assert needed(folder, 24, 24)[1] == 2
    assert needed(folder, 24, 24, max_model_len=8192)[1] == 1
    assert needed(folder, 24, 24, kv_cache_tokens=8192)[1] == 1


def test_numbers_may_stand_in_the_part_for_text(model):
    folder = model(text_config={"max_position_embeddings": 2**17})

    assert needed(folder, 24, 24)[1] == 2


def test_a_model_of_unknown_keys_and_values_is_taken_for_larger(model):
    folder = model(num_hidden_layers=None)

    assert needed(folder, 24, 24)[1] == 2
    assert needed(folder, 48, 48)[1] == 1


def test_our_own_packing_lies_on_one_device(model):
    assert OWN_PACKING == METHOD
    folder = model(quantization_config={"quant_method": METHOD})

    assert needed(folder, 8, 8)[1] == 1


def test_more_than_there_are_is_refused(model):
    with pytest.raises(ConfigurationError, match="LLMZOO_GPUS is 3, but there are only 2"):
        needed(model(), 24, 24, gpus=3)


def test_a_folder_without_a_model(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelNotSupported):
        needed(tmp_path, 24)


@given(
    gib=st.floats(0.001, 200),
    sizes=st.lists(st.integers(4, 80), min_size=1, max_size=8),
    share=st.integers(1, 4),
)
def test_what_is_asked_for_can_be_had(model, gib, sizes, share):
    fit, count = choose_gpus(model(gib), WorkerSettings(gpu_share=share), gpus(*sizes))

    assert 1 <= count <= len(fit) <= len(sizes)
    if count == 1 and len(sizes) > 1:
        assert all(gpu.total / share > gib * GIB for gpu in fit)
