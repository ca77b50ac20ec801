"""What a folder's file names and JSON tell: its weight files, or why it is refused."""

import json

import pytest

from shared.errors import CheckpointDamaged, ModelNotSupported, ModelNotThere
from shared.model_folder import companions, inspect_folder, read_weight_map, shard_names


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def with_index(folder, *shards, missing=()):
    weight_map = {f"tensor {shard}": shard for shard in (*shards, *missing)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    for shard in shards:
        (folder / shard).touch()
    return weight_map


def test_one_file(folder):
    (folder / "model.safetensors").touch()
    assert inspect_folder(folder, allow_pickle=False) == [folder / "model.safetensors"]
    assert read_weight_map(folder) is None


def test_shards_in_their_order(folder):
    names = shard_names("model", 3)
    weight_map = with_index(folder, *reversed(names))
    assert inspect_folder(folder, allow_pickle=False) == [folder / name for name in names]
    assert read_weight_map(folder) == weight_map


def test_the_shards_that_are_missing_are_named(folder):
    with_index(folder, "a.safetensors", missing=["b.safetensors", "c.safetensors"])
    with pytest.raises(ModelNotSupported, match=r": b\.safetensors, c\.safetensors is missing"):
        inspect_folder(folder, allow_pickle=False)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": {"w": "../x"}}'])
def test_an_index_that_cannot_be_used_is_damaged(folder, content):
    index = folder / "model.safetensors.index.json"
    index.write_text(content)
    with pytest.raises(CheckpointDamaged) as fault:
        inspect_folder(folder, allow_pickle=True)
    assert fault.value.file == index


def test_pickles_are_weights_only_if_asked_and_nothing_better_is_there(folder):
    pickle = folder / "pytorch_model.bin"
    pickle.touch()
    with pytest.raises(
        ModelNotSupported, match=r"only \(pytorch_model\.bin\).*LLMZOO_ALLOW_PICKLE"
    ):
        inspect_folder(folder, allow_pickle=False)
    with pytest.raises(ModelNotSupported, match="Save the model as safetensors"):
        read_weight_map(folder)
    assert inspect_folder(folder, allow_pickle=True) == [pickle]
    (folder / "model.safetensors").touch()
    assert inspect_folder(folder, allow_pickle=True) == [folder / "model.safetensors"]
    assert read_weight_map(folder) is None


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_config_that_is_no_object(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(ModelNotSupported, match=r"config\.json cannot be read"):
        inspect_folder(folder, allow_pickle=False)


def test_what_is_no_model(tmp_path):
    with pytest.raises(ModelNotThere, match="does not exist"):
        inspect_folder(tmp_path / "nowhere", allow_pickle=False)
    with pytest.raises(ModelNotSupported, match=r"no config\.json"):
        inspect_folder(tmp_path, allow_pickle=False)
    (tmp_path / "model.gguf").touch()
    with pytest.raises(ModelNotSupported, match="GGUF"):
        inspect_folder(tmp_path, allow_pickle=False)


def test_a_folder_without_weights(folder):
    with pytest.raises(ModelNotSupported, match=r"no weights \(model\.safetensors\)"):
        inspect_folder(folder, allow_pickle=True)


def test_what_travels_with_the_weights(folder):
    for name in ("LICENSE", "model.safetensors", "model.safetensors.index.json", ".git/config"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    assert [path.as_posix() for path in companions(folder)] == ["LICENSE", "config.json"]
