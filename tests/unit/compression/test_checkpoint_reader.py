"""A safetensors folder is read as the library reads it, and each fault names its place."""

import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from shared.compression.checkpoint import CheckpointReader
from shared.errors import CheckpointDamaged, ModelNotSupported, ModelNotThere
from tests.fakes.random_checkpoints import bits, bloom, llama, save, weights

pytestmark = pytest.mark.torch

EVERY_DTYPE = [
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint16, torch.uint32, torch.uint64, torch.float16, torch.bfloat16, torch.float32),
    *(torch.float64, torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2),
]
LAYER = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture
def folder(tmp_path):
    return save(llama(), tmp_path / "model")


def one_file(folder, tensors, **metadata):
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_file(tensors, folder / "model.safetensors", metadata=metadata or None)
    return folder


def shard_of(folder, name):
    return CheckpointReader(folder).info(name).file


@pytest.mark.parametrize("shard", ["12KB", "1GB"])
@pytest.mark.parametrize("model", [llama, bloom])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_tensor_is_what_the_library_reads(tmp_path, model, dtype, shard):
    folder = save(model(dtype=dtype), tmp_path / "model", shard)
    reader = CheckpointReader(folder)
    expected = weights(folder)
    assert set(reader.names) == set(expected)
    assert {file.name for file in reader.shards} == {f.name for f in folder.glob("*.safetensors")}
    assert reader.total_bytes == sum(tensor.nbytes for tensor in expected.values())
    assert reader.metadata == {"format": "pt"}
    for name, tensor in expected.items():
        info = reader.info(name)
        found = reader.tensor(name)
        assert (info.shape, info.dtype, info.nbytes) == (tensor.shape, tensor.dtype, tensor.nbytes)
        assert found.dtype == tensor.dtype
        assert torch.equal(bits(found), bits(tensor))


def test_every_dtype_and_odd_shapes(tmp_path):
    data = torch.arange(24, dtype=torch.uint8)
    tensors = {f"t{i}": data.view(dtype).clone() for i, dtype in enumerate(EVERY_DTYPE[1:])}
    tensors |= {
        "flags": torch.tensor([True, False, True]),
        "scalar": torch.tensor(3.5),
        "nothing": torch.empty(0, 7),
    }
    reader = CheckpointReader(one_file(tmp_path / "m", tensors))
    for name, tensor in tensors.items():
        found = reader.tensor(name)
        assert (found.shape, found.dtype) == (tensor.shape, tensor.dtype)
        assert torch.equal(bits(found), bits(tensor))


@pytest.mark.parametrize(
    ("model", "tied"),
    [
        (llama(tied=True), {"lm_head.weight": "model.embed_tokens.weight"}),
        (llama(), {}),
        (bloom(), {"lm_head.weight": "transformer.word_embeddings.weight"}),
    ],
)
def test_a_head_that_is_not_stored_is_the_embedding(tmp_path, model, tied):
    assert CheckpointReader(save(model, tmp_path / "model")).tied == tied


def test_a_head_that_is_lost_is_not_tied(folder):
    shard = shard_of(folder, "lm_head.weight")
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    del content["weight_map"]["lm_head.weight"]
    index.write_text(json.dumps(content))
    reader = CheckpointReader(folder)
    assert "lm_head.weight" not in reader
    assert reader.tied == {}
    assert shard.exists()


def test_no_folder(tmp_path):
    with pytest.raises(ModelNotThere, match="nowhere does not exist"):
        CheckpointReader(tmp_path / "nowhere")


def test_no_config(folder):
    (folder / "config.json").unlink()
    with pytest.raises(ModelNotSupported, match=r"no config\.json"):
        CheckpointReader(folder)


def test_pickles_alone_are_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(ModelNotSupported, match=r"pickle weights only \(pytorch_model\.bin\)"):
        CheckpointReader(tmp_path)


def test_no_weights(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelNotSupported, match=r"no weights \(model\.safetensors\)"):
        CheckpointReader(tmp_path)


def test_a_missing_shard(folder):
    shard = shard_of(folder, LAYER)
    shard.unlink()
    with pytest.raises(CheckpointDamaged, match="shard is missing") as fault:
        CheckpointReader(folder)
    assert fault.value.file == shard


def test_data_that_is_cut_short_names_the_tensor(folder):
    shard = shard_of(folder, LAYER)
    last = max(
        (info for info in CheckpointReader(folder) if info.file == shard), key=lambda i: i.start
    )
    with shard.open("r+b") as stream:
        stream.truncate(shard.stat().st_size - 1)
    with pytest.raises(CheckpointDamaged, match="cut short") as fault:
        CheckpointReader(folder)
    assert (fault.value.file, fault.value.tensor) == (shard, last.name)
    assert str(shard) in str(fault.value)
    assert last.name in str(fault.value)


def test_a_file_that_is_cut_short_after_it_was_opened(folder):
    reader = CheckpointReader(folder)
    info = reader.info(LAYER)
    with info.file.open("r+b") as stream:
        stream.truncate(info.start + 4)
    with pytest.raises(CheckpointDamaged, match="cut short") as fault:
        reader.tensor(LAYER)
    assert (fault.value.file, fault.value.tensor) == (info.file, LAYER)


def header_of(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


ENTRY = '{"dtype":"F32","shape":[2],"data_offsets":[%d,%d]}'


@pytest.mark.parametrize(
    ("content", "says", "tensor"),
    [
        (b"", "header is cut short", None),
        (b"\x08\x00", "header is cut short", None),
        (struct.pack("<Q", 1 << 40), "header is cut short", None),
        (header_of(b"[]"), "no JSON object", None),
        (header_of(b"{nonsense"), "no JSON", None),
        (header_of(b'{"w":3}'), "malformed", "w"),
        (header_of(b'{"w":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}'), "malformed", "w"),
        (header_of(b'{"w":%s}' % (ENTRY % (0, 4)).encode()) + bytes(4), "4 bytes of data", "w"),
        (header_of(b'{"w":%s}' % (ENTRY % (4, 12)).encode()) + bytes(12), "does not begin", "w"),
        (header_of(b'{"w":%s}' % (ENTRY % (0, 8)).encode()) + bytes(7), "cut short", "w"),
        (header_of(b'{"w":%s}' % (ENTRY % (0, 8)).encode()) + bytes(9), "1 bytes after", None),
        (
            header_of(b'{"w":%s,"v":%s}' % ((ENTRY % (0, 8)).encode(), (ENTRY % (4, 12)).encode()))
            + bytes(12),
            "does not begin",
            "v",
        ),
    ],
)
def test_a_damaged_file(tmp_path, content, says, tensor):
    (tmp_path / "config.json").write_text("{}")
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(CheckpointDamaged, match=says) as fault:
        CheckpointReader(tmp_path)
    assert (fault.value.file, fault.value.tensor) == (file, tensor)


def test_a_dtype_that_torch_does_not_have(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    text = b'{"w":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}'
    (tmp_path / "model.safetensors").write_bytes(header_of(text) + b"\0")
    with pytest.raises(ModelNotSupported, match=r"\(w\): the dtype F4"):
        CheckpointReader(tmp_path)


def test_an_index_that_promises_what_a_shard_does_not_hold(folder):
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["extra.weight"] = content["weight_map"][LAYER]
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointDamaged, match="is missing") as fault:
        CheckpointReader(folder)
    assert fault.value.tensor == "extra.weight"
    assert fault.value.file == folder / content["weight_map"][LAYER]


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", 3, ".."])
def test_an_index_cannot_lead_out_of_its_folder(folder, name):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(CheckpointDamaged) as fault:
        CheckpointReader(folder)
    assert fault.value.file.parent == folder


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"weight_map":{}}', '{"weight_map":[1]}'])
def test_a_malformed_index(folder, content):
    index = folder / "model.safetensors.index.json"
    index.write_text(content)
    with pytest.raises(CheckpointDamaged) as fault:
        CheckpointReader(folder)
    assert fault.value.file == index


def test_a_tensor_that_is_not_there(folder):
    with pytest.raises(CheckpointDamaged, match="missing") as fault:
        CheckpointReader(folder).tensor("nope")
    assert fault.value.tensor == "nope"
