"""A folder made smaller and loaded again: whatever the architecture, and whatever is wrong."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from shared.compression import PackedLinear, Scheme, compress_module
from shared.compression.checkpoint import verify
from shared.compression.packed_folder import REPORT, compress_folder
from shared.compression.packed_model import Placement, load_packed
from shared.errors import (
    CheckpointDamaged,
    CheckpointExists,
    CheckpointMismatch,
    ConfigurationError,
    WeightNotFinite,
)

pytestmark = pytest.mark.torch

FP32 = Placement(compute_dtype=torch.float32)
SCHEMES = [Scheme("bf16"), Scheme("int8"), Scheme("int4", 32, symmetric=False), Scheme("int4", 64)]
IDS = torch.arange(1, 25).reshape(2, 12)


def llama(*, tied):
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=96,
            hidden_size=64,
            intermediate_size=80,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            attention_bias=True,
            tie_word_embeddings=tied,
        )
    )


MODELS = {
    "llama": lambda: llama(tied=False),
    "tied llama": lambda: llama(tied=True),
    "bloom": lambda: BloomForCausalLM(
        BloomConfig(vocab_size=96, hidden_size=64, n_layer=2, n_head=4)
    ),
    "gpt2, whose weights lie the other way round": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=96, n_embd=64, n_layer=2, n_head=4, n_positions=64)
    ),
}


@pytest.fixture
def source(request, tmp_path):
    torch.manual_seed(0)
    model = MODELS[getattr(request, "param", "llama")]()
    model.save_pretrained(tmp_path / "source", max_shard_size="40KB")
    return tmp_path / "source"


def logits(model):
    with torch.inference_mode():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize("source", MODELS, indirect=True)
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_the_three_ways_to_a_packed_model_are_one(source, tmp_path, scheme):
    """Packed in memory, on the way from the disk, and beforehand on the disk."""
    in_memory = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    plain = logits(in_memory)
    reports = compress_module(in_memory, scheme)
    packed = {report.name for report in reports if report.scheme}
    report = compress_folder(source, tmp_path / "small", scheme)
    assert {layer.name for layer in report.layers} == packed
    beforehand = load_packed(tmp_path / "small", placement=FP32)
    on_the_way = load_packed(source, scheme, FP32)
    expected = logits(in_memory)
    assert torch.equal(logits(beforehand), expected)
    assert torch.equal(logits(on_the_way), expected)
    assert not torch.equal(expected, plain)
    assert (expected - plain).norm() / plain.norm() < 0.3
    kinds = {name for name, part in beforehand.named_modules() if isinstance(part, PackedLinear)}
    assert kinds == packed


def test_the_folder_is_one_like_any_other(source, tmp_path):
    seen = []
    report = compress_folder(
        source, tmp_path / "small", Scheme("int8"), report=lambda *at: seen.append(at)
    )
    verify(tmp_path / "small")
    config = AutoConfig.from_pretrained(tmp_path / "small")
    assert config.hidden_size == 64
    stored = json.loads((tmp_path / "small" / REPORT).read_text())
    assert len(stored["layers"]) == len(report.layers) == 15
    # Both forms of 8 bits: one scale a row, as kernels want it, and LLMZoo's groups of 256.
    for layer in stored["layers"]:
        assert 0 < layer["group_256_error"] < 0.02
        assert 0 < layer["relative_error"] < 0.02
    tensors = {}
    for file in (tmp_path / "small").glob("*.safetensors"):
        tensors |= load_file(file)
    assert tensors["model.layers.0.mlp.up_proj.weight"].dtype == torch.int8
    assert tensors["model.layers.0.mlp.up_proj.weight_scale"].shape == (80,)
    assert sum(tensor.nbytes for tensor in tensors.values()) == report.bytes_after
    assert seen[-1] == (report.bytes_before, report.bytes_before)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_files_can_be_left_out(source, tmp_path):
    (source / "mine.json").write_text("{}")
    for name, leave_out in (("with", ()), ("without", {"mine.json"})):
        compress_folder(source, tmp_path / name, Scheme("int8"), leave_out=leave_out)
        assert (tmp_path / name / "mine.json").is_file() == (name == "with")


def test_layers_can_be_skipped(source, tmp_path):
    report = compress_folder(
        source, tmp_path / "small", Scheme("int8"), skip=["lm_head", "*.q_proj"]
    )
    names = {layer.name for layer in report.layers}
    assert "lm_head" not in names
    assert not any(name.endswith("q_proj") for name in names)
    model = load_packed(tmp_path / "small", placement=FP32)
    assert type(model.lm_head) is torch.nn.Linear


def test_a_checkpoint_of_the_inner_model_alone_is_read(source, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(source)
    torch.manual_seed(0)
    tied = llama(tied=True)
    tied.model.save_pretrained(tmp_path / "inner")
    config = json.loads((source / "config.json").read_text())
    (tmp_path / "inner" / "config.json").write_text(
        json.dumps({**config, "tie_word_embeddings": True})
    )
    packed = load_packed(tmp_path / "inner", Scheme("bf16"), FP32)
    assert packed.lm_head.weight is packed.model.embed_tokens.weight
    assert type(packed) is type(model)


def spoil(source, change):
    for file in source.glob("*.safetensors"):
        tensors = load_file(file)
        if change(tensors):
            save_file(tensors, file, metadata={"format": "pt"})
            return file
    raise AssertionError("nothing to spoil")


NAME = "model.layers.1.mlp.down_proj.weight"


def test_a_weight_that_is_no_number_is_named_and_nothing_is_left(source, tmp_path):
    def change(tensors):
        if NAME in tensors:
            tensors[NAME][3, 3] = float("nan")
            return True
        return False

    spoil(source, change)
    with pytest.raises(WeightNotFinite, match=NAME):
        compress_folder(source, tmp_path / "small", Scheme("int8"))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_wrong_shape_names_file_and_tensor(source):
    def change(tensors):
        if NAME in tensors:
            tensors[NAME] = tensors[NAME][:, :-1].contiguous()
            return True
        return False

    file = spoil(source, change)
    with pytest.raises(CheckpointMismatch) as caught:
        load_packed(source, Scheme("int8"), FP32)
    assert (caught.value.file, caught.value.tensor) == (file, NAME)


def test_a_tensor_that_lacks_is_named(source):
    index = source / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    del content["weight_map"]["model.norm.weight"]
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointMismatch) as caught:
        load_packed(source, Scheme("int8"), FP32)
    assert caught.value.tensor == "model.norm.weight"


def test_a_truncated_shard_is_named(source, tmp_path):
    shard = max(source.glob("*.safetensors"), key=lambda file: file.stat().st_size)
    shard.write_bytes(shard.read_bytes()[:-7])
    for attempt in (
        lambda: compress_folder(source, tmp_path / "small", Scheme("int8")),
        lambda: load_packed(source, Scheme("int8"), FP32),
    ):
        with pytest.raises(CheckpointDamaged) as caught:
            attempt()
        assert caught.value.file == shard
    assert not (tmp_path / "small").exists()


def test_packed_parts_that_lack_are_named(source, tmp_path):
    compress_folder(source, tmp_path / "small", Scheme("int8"))
    scale = "model.layers.0.mlp.up_proj.weight_scale"
    spoil(tmp_path / "small", lambda tensors: tensors.pop(scale, None) is not None)
    with pytest.raises(CheckpointMismatch) as caught:
        load_packed(tmp_path / "small", placement=FP32)
    assert caught.value.tensor == "model.layers.0.mlp.up_proj.weight"


def test_what_is_packed_is_not_packed_again(source, tmp_path):
    compress_folder(source, tmp_path / "small", Scheme("int8"))
    with pytest.raises(CheckpointExists):
        compress_folder(source, tmp_path / "small", Scheme("int8"))
    with pytest.raises(ConfigurationError, match="already"):
        compress_folder(tmp_path / "small", tmp_path / "smaller", Scheme("int4"))
    with pytest.raises(ConfigurationError, match="already"):
        load_packed(tmp_path / "small", Scheme("int4"))
    with pytest.raises(ConfigurationError, match="no scheme"):
        load_packed(source)


@pytest.mark.parametrize("change", [{"version": 9}, {"kind": "int3"}, {"layers": None}])
def test_a_damaged_entry_is_refused(source, tmp_path, change):
    compress_folder(source, tmp_path / "small", Scheme("int8"))
    file = tmp_path / "small" / "config.json"
    config = json.loads(file.read_text())
    config["quantization_config"] |= change
    file.write_text(json.dumps(config))
    with pytest.raises(CheckpointDamaged, match=r"packing|quantization_config"):
        load_packed(tmp_path / "small")
