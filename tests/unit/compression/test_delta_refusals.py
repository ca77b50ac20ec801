"""What does not belong together is refused, by file and tensor, and nothing is left."""

import json

import pytest
import torch

from shared.compression.checkpoint import CheckpointReader
from shared.compression.deltas import apply_delta, make_delta
from shared.errors import (
    CheckpointDamaged,
    CheckpointExists,
    CheckpointMismatch,
    ChecksumMismatch,
    ModelNotSupported,
    ModelNotThere,
    WrongBase,
)
from tests.fakes.random_checkpoints import (
    EMBEDDING,
    HEAD,
    LAYER,
    ROWS,
    bloom,
    llama,
    refused,
    rewrite,
    save,
    weights,
)

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("change", "says", "name"),
    [
        (("target", lambda ts: {k: v for k, v in ts.items() if k != LAYER}), "not in the", LAYER),
        (("base", lambda ts: {k: v for k, v in ts.items() if k != LAYER}), "not in the", LAYER),
        (("target", lambda ts: {k: v for k, v in ts.items() if k != HEAD}), "not in the", HEAD),
        (("target", lambda ts: ts | {"v_head.weight": torch.ones(1)}), "not in", "v_head.weight"),
        (("base", lambda ts: ts | {"model.norm.weight": torch.ones(31)}), "shape", None),
        (("base", lambda ts: ts | {LAYER: ts[LAYER][:, :-1]}), "shape", LAYER),
        (("base", lambda ts: ts | {EMBEDDING: ts[EMBEDDING][:, :-1]}), "shape", EMBEDDING),
        (("base", lambda ts: ts | {LAYER: ts[LAYER].to(torch.int32)}), "int32", LAYER),
    ],
)
def test_models_that_do_not_belong_together(base, target, change, says, name):
    side, spoil = change
    rewrite({"base": base, "target": target}[side], spoil)
    fault = refused(CheckpointMismatch, make_delta, base, target, base.parent / "delta", says=says)
    assert fault.file is not None
    assert fault.tensor == (name or "model.norm.weight")
    assert fault.tensor in str(fault)


def test_the_shape_of_another_architecture(tmp_path, base):
    refused(CheckpointMismatch, make_delta, base, save(bloom(), tmp_path / "t"), tmp_path / "delta")


def test_another_base_of_the_same_shape(tmp_path, delta):
    other = save(llama(seed=7), tmp_path / "other")
    fault = refused(WrongBase, apply_delta, other, delta, tmp_path / "out", says="other values")
    assert fault.file.parent == other
    assert fault.tensor in weights(other)


def test_a_base_that_differs_in_one_bit(tmp_path, base, delta):
    def flip(tensors):
        tensors[LAYER].view(torch.int32)[3, 3] ^= 1
        return tensors

    rewrite(base, flip)
    fault = refused(WrongBase, apply_delta, base, delta, tmp_path / "out")
    assert fault.tensor == LAYER


@pytest.mark.parametrize(
    ("make", "tensor"),
    [
        (lambda: llama(rows=ROWS + 1), EMBEDDING),
        (lambda: llama(dtype=torch.float16), EMBEDDING),
        (bloom, EMBEDDING),
    ],
)
def test_another_base_of_another_shape(tmp_path, delta, make, tensor):
    other = save(make(), tmp_path / "other")
    fault = refused(WrongBase, apply_delta, other, delta, tmp_path / "out")
    assert fault.file is not None
    assert fault.tensor in {tensor, HEAD}


def test_a_delta_that_has_changed(tmp_path, base, delta):
    info = CheckpointReader(delta, "delta").info(LAYER)
    with info.file.open("r+b") as stream:
        stream.seek(info.start)
        stream.write(b"\x55")
    fault = refused(ChecksumMismatch, apply_delta, base, delta, tmp_path / "out")
    assert str(info.file) in str(fault)
    assert LAYER in str(fault)


@pytest.mark.parametrize("name", ["delta.json", "config.json"])
def test_a_small_file_of_the_delta_that_has_changed(tmp_path, base, delta, name):
    content = (delta / name).read_text()
    (delta / name).write_text(content + " ")
    refused(ChecksumMismatch, apply_delta, base, delta, tmp_path / "out", says=name)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"version": 2}, ModelNotSupported),
        ({"difference": "subtraction"}, ModelNotSupported),
        ({"format": "another"}, ModelNotSupported),
        ({"tensors": None}, CheckpointDamaged),
        ({"tensors": {}}, CheckpointDamaged),
        ({"tensors": {LAYER: {"dtype": "F32"}}}, CheckpointDamaged),
        ({"tied": {HEAD: "nowhere"}}, CheckpointDamaged),
    ],
)
def test_an_account_that_is_not_understood(tmp_path, base, delta, change, kind):
    manifest = json.loads((delta / "delta.json").read_text())
    (delta / "delta.json").write_text(json.dumps({**manifest, **change}))
    (delta / "checksums.json").write_text('{"sha256": {}}')
    refused(kind, apply_delta, base, delta, tmp_path / "out")


def test_a_truncated_shard_of_each_side(tmp_path, base, target, delta):
    for folder, task, arguments in (
        (base, make_delta, (base, target)),
        (delta, apply_delta, (base, delta)),
        (base, apply_delta, (base, delta)),
    ):
        shard = max(folder.glob("*.safetensors"))
        whole = shard.read_bytes()
        shard.write_bytes(whole[:-1])
        fault = refused(CheckpointDamaged, task, *arguments, tmp_path / "out", says="cut short")
        assert fault.file == shard
        assert fault.tensor
        shard.write_bytes(whole)


def test_an_existing_target_is_refused(tmp_path, base, target, delta):
    (tmp_path / "out").mkdir()
    refused(CheckpointExists, make_delta, base, target, tmp_path / "out")
    refused(CheckpointExists, apply_delta, base, delta, tmp_path / "out")


def test_folders_that_are_not_there(tmp_path, base, delta):
    refused(ModelNotThere, make_delta, tmp_path / "no", base, tmp_path / "out", says="/no ")
    refused(ModelNotThere, make_delta, base, tmp_path / "no", tmp_path / "out", says="/no ")
    refused(ModelNotThere, apply_delta, tmp_path / "no", delta, tmp_path / "out", says="/no ")
    refused(ModelNotThere, apply_delta, base, tmp_path / "no", tmp_path / "out", says="/no ")
