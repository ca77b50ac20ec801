"""A written folder is what the library and transformers read; it appears whole or not at all."""

import json
from contextlib import nullcontext

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from shared.compression.checkpoint import (
    CHECKSUMS,
    CheckpointReader,
    CheckpointWriter,
    TensorSpec,
    verify,
)
from shared.errors import (
    CheckpointDamaged,
    CheckpointExists,
    CheckpointNotWritten,
    ChecksumMismatch,
)
from tests.fakes.random_checkpoints import bits, bloom, llama, same_weights, save, weights

pytestmark = pytest.mark.torch

SPECS = [TensorSpec(f"t{i}", (4, 8), torch.float32) for i in range(6)]
TENSORS = {spec.name: torch.randn(4, 8) for spec in SPECS}
SIZE = SPECS[0].nbytes


def copy(source, target, *, max_shard_bytes=12_000, **options):
    reader = CheckpointReader(source)
    with CheckpointWriter(
        target, reader, companions_of=source, max_shard_bytes=max_shard_bytes, **options
    ) as writer:
        for name in writer.pending:
            writer.write(name, reader.tensor(name))
    return target


class Interrupted(BaseException):
    """Stands for Ctrl-C, which pytest keeps for itself."""


def write_all(writer, last=lambda: None):
    with writer:
        for name in writer.pending:
            writer.write(name, TENSORS[name])
        last()


def interrupted_after(target, count, *, identity="one", max_shard_bytes=2 * SIZE):
    """Write `count` more tensors, break off, and return what was pending before."""
    pending = []

    def attempt():
        with CheckpointWriter(
            target, SPECS, max_shard_bytes=max_shard_bytes, identity=identity
        ) as writer:
            pending.extend(writer.pending)
            for name in pending[:count]:
                writer.write(name, TENSORS[name], {"of": name})
            raise Interrupted

    with pytest.raises(Interrupted):
        attempt()
    return pending


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("shard", [12_000, 10**9, 1])
@pytest.mark.parametrize("model", [llama(), llama(tied=True), bloom(dtype=torch.bfloat16)])
def test_transformers_loads_what_is_written(tmp_path, model, shard):
    source = save(model, tmp_path / "source")
    target = copy(source, tmp_path / "target", max_shard_bytes=shard)
    assert same_weights(source, target)
    loaded = AutoModelForCausalLM.from_pretrained(target)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert names_in(tmp_path) == ["source", "target"]


def test_the_index_is_that_of_transformers(tmp_path):
    source = save(llama(), tmp_path / "source", "12KB")
    target = copy(source, tmp_path / "target", max_shard_bytes=12_000)
    ours, theirs = (
        json.loads((folder / "model.safetensors.index.json").read_text())
        for folder in (target, source)
    )
    assert ours["metadata"] == theirs["metadata"]
    assert ours["weight_map"].keys() == theirs["weight_map"].keys()
    assert set(ours["weight_map"].values()) == {f.name for f in target.glob("*.safetensors")}


def test_no_shard_is_larger_than_asked_unless_one_tensor_is(tmp_path):
    source = save(llama(), tmp_path / "source")
    target = copy(source, tmp_path / "target", max_shard_bytes=5000)
    for file in target.glob("*.safetensors"):
        sizes = [info.nbytes for info in CheckpointReader(target) if info.file == file]
        assert sum(sizes) <= 5000 or len(sizes) == 1


def test_tensors_in_any_order_and_of_any_width_are_aligned(tmp_path):
    specs = [
        TensorSpec("flags", (3,), torch.bool),
        TensorSpec("packed", (5,), torch.uint8),
        TensorSpec("scale", (3,), torch.float16),
        TensorSpec("zero", (), torch.float64),
    ]
    tensors = {s.name: torch.ones(s.shape).to(s.dtype) for s in specs}
    with CheckpointWriter(tmp_path / "out", specs, metadata={"kind": "mixed"}) as writer:
        for name in reversed(writer.pending):
            writer.write(name, tensors[name])
        writer.add_file("config.json", b"{}")
    reader = CheckpointReader(tmp_path / "out")
    assert all(info.start % info.dtype.itemsize == 0 for info in reader)
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as library:
        assert library.metadata() == {"kind": "mixed"}
        for name, tensor in tensors.items():
            assert torch.equal(library.get_tensor(name), tensor)


def test_a_tensor_that_is_a_view_is_written_in_its_own_order(tmp_path):
    view = torch.arange(12.0).view(3, 4).T
    with CheckpointWriter(tmp_path / "out", [TensorSpec("w", (4, 3), torch.float32)]) as writer:
        writer.write("w", view)
    assert torch.equal(weights(tmp_path / "out")["w"], view)


def test_what_travels_with_a_model_and_what_does_not(tmp_path):
    source = save(llama(), tmp_path / "source")
    for name in ("tokenizer.json", "LICENSE", "extra/chat.jinja", "old.bin", ".hidden", "x.gguf"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(name)
    (source / CHECKSUMS).write_text("{}")
    target = copy(source, tmp_path / "target", max_shard_bytes=10**9, leave_out={"LICENSE"})
    found = sorted(str(p.relative_to(target)) for p in target.rglob("*") if p.is_file())
    assert found == [
        *("checksums.json", "config.json", "extra/chat.jinja", "generation_config.json"),
        *("model.safetensors", "tokenizer.json"),
    ]
    assert sorted(verify(target)) == [name for name in found if name != CHECKSUMS]


def test_a_file_that_is_added_stands_in_for_a_companion(tmp_path):
    source = save(llama(), tmp_path / "source")
    reader = CheckpointReader(source)
    with CheckpointWriter(tmp_path / "out", reader, companions_of=source) as writer:
        for name in writer.pending:
            writer.write(name, reader.tensor(name))
        writer.add_file("config.json", b'{"changed": true}')
    assert (tmp_path / "out" / "config.json").read_bytes() == b'{"changed": true}'
    verify(tmp_path / "out")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["folder", "empty folder", "file", "dangling link"])
def test_an_existing_target_is_refused_and_only_a_folder_replaced(tmp_path, kind, overwrite):
    target = tmp_path / "target"
    match kind:
        case "dangling link":
            target.symlink_to(tmp_path / "nowhere")
        case "file":
            target.write_text("mine")
        case _:
            target.mkdir()
    if kind == "folder":
        (target / "mine").write_text("mine")
    refused = not (overwrite and "folder" in kind)
    with pytest.raises(CheckpointExists) if refused else nullcontext() as fault:
        write_all(CheckpointWriter(target, SPECS, overwrite=overwrite))
    assert names_in(tmp_path) == ["target"]
    if refused:
        assert fault.value.file == target
    else:
        assert names_in(target) == [CHECKSUMS, "model.safetensors"]


def test_a_target_that_appears_meanwhile_is_kept(tmp_path):
    target = tmp_path / "target"

    def appear():
        target.mkdir()
        (target / "mine").write_text("mine")

    with pytest.raises(CheckpointExists):
        write_all(CheckpointWriter(target, SPECS), appear)
    assert names_in(tmp_path) == ["target"]
    assert names_in(target) == ["mine"]


def test_overwriting_leaves_nothing_of_the_old_one(tmp_path):
    source = save(llama(), tmp_path / "source")
    target = save(bloom(), tmp_path / "target")
    copy(source, target, overwrite=True)
    assert same_weights(source, target)
    assert names_in(tmp_path) == ["source", "target"]
    verify(target)


def test_an_exception_leaves_nothing(tmp_path):
    def broken_off():
        with CheckpointWriter(tmp_path / "target", SPECS, identity="one") as writer:
            writer.write("t0", TENSORS["t0"])
            raise LookupError

    with pytest.raises(LookupError):
        broken_off()
    assert names_in(tmp_path) == []


def test_a_tensor_that_was_never_written_is_told(tmp_path):
    with (
        pytest.raises(ValueError, match="never written: t1"),
        CheckpointWriter(tmp_path / "target", SPECS[:2]) as writer,
    ):
        writer.write("t0", TENSORS["t0"])
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    "tensor", [torch.zeros(8, 4), torch.zeros(4, 8, dtype=torch.float16), torch.zeros(32)]
)
def test_another_shape_or_dtype_than_was_planned(tmp_path, tensor):
    with (
        pytest.raises(ValueError, match="planned was"),
        CheckpointWriter(tmp_path / "target", SPECS[:1]) as writer,
    ):
        writer.write("t0", tensor)


def test_two_writers_of_one_target(tmp_path):
    target = tmp_path / "target"
    with CheckpointWriter(target, SPECS, identity="one") as first:
        first.write("t0", TENSORS["t0"])
        with (
            pytest.raises(CheckpointExists, match="another process"),
            CheckpointWriter(target, SPECS, identity="one"),
        ):
            pass
        for name in first.pending:
            first.write(name, TENSORS[name])
    assert weights(target).keys() == TENSORS.keys()


@pytest.mark.parametrize("count", range(6))
def test_whole_shards_are_kept_over_an_interruption(tmp_path, count):
    target = tmp_path / "target"
    interrupted_after(target, count)
    assert names_in(tmp_path) == [".target.partial"]
    with CheckpointWriter(target, SPECS, max_shard_bytes=2 * SIZE, identity="one") as writer:
        kept = count // 2 * 2
        assert writer.pending == list(TENSORS)[kept:]
        assert dict(writer.notes) == {name: {"of": name} for name in list(TENSORS)[:kept]}
        for name in writer.pending:
            writer.write(name, TENSORS[name])
    assert names_in(tmp_path) == ["target"]
    assert all(torch.equal(weights(target)[name], TENSORS[name]) for name in TENSORS)
    verify(target)


@pytest.mark.parametrize("identity", ["another", ""])
def test_an_attempt_at_something_else_is_not_taken_up(tmp_path, identity):
    target = tmp_path / "target"
    interrupted_after(target, 4)
    with CheckpointWriter(target, SPECS, max_shard_bytes=2 * SIZE, identity=identity) as writer:
        assert writer.pending == list(TENSORS)
        for name in writer.pending:
            writer.write(name, -TENSORS[name])
    assert all(torch.equal(weights(target)[name], -TENSORS[name]) for name in TENSORS)


def test_another_plan_is_not_taken_up(tmp_path):
    interrupted_after(tmp_path / "target", 4)
    pending = interrupted_after(tmp_path / "target", 0, max_shard_bytes=SIZE)
    assert pending == list(TENSORS)


def test_a_kept_shard_that_has_changed_is_written_again(tmp_path):
    target = tmp_path / "target"
    interrupted_after(target, 4)
    shard = tmp_path / ".target.partial" / "model-00001-of-00003.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert interrupted_after(target, 0) == ["t0", "t1", "t4", "t5"]


def test_a_journal_that_is_cut_short_is_read_as_far_as_it_goes(tmp_path):
    target = tmp_path / "target"
    interrupted_after(target, 4)
    journal = tmp_path / ".target.partial" / ".journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-9])
    assert interrupted_after(target, 2) == ["t2", "t3", "t4", "t5"]
    assert interrupted_after(target, 2) == ["t4", "t5"]
    assert interrupted_after(target, 0) == []


def test_a_disk_that_is_too_small_is_told_before_any_work(tmp_path):
    huge = [TensorSpec("w", (1 << 40, 1 << 10), torch.float32)]
    with pytest.raises(CheckpointNotWritten, match="the disk has") as fault:
        CheckpointWriter(tmp_path / "target", huge).__enter__()
    assert fault.value.file == tmp_path / "target"
    assert names_in(tmp_path) == []


def test_a_changed_file_is_named(tmp_path):
    target = copy(save(llama(), tmp_path / "source"), tmp_path / "target")
    shard = sorted(target.glob("*.safetensors"))[1]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 0x40
    shard.write_bytes(content)
    with pytest.raises(ChecksumMismatch, match=shard.name):
        verify(target)
    assert verify(target, only=lambda name: name == "config.json") == ["config.json"]


def test_a_file_that_has_gone_is_named(tmp_path):
    target = copy(save(llama(), tmp_path / "source"), tmp_path / "target")
    (target / "config.json").unlink()
    with pytest.raises(CheckpointDamaged) as fault:
        verify(target)
    assert fault.value.file == target / "config.json"


@pytest.mark.parametrize("content", [None, "", "[]", '{"sha256": 3}'])
def test_checksums_that_are_none(tmp_path, content):
    if content is not None:
        (tmp_path / CHECKSUMS).write_text(content)
    with pytest.raises(CheckpointDamaged) as fault:
        verify(tmp_path)
    assert fault.value.file == tmp_path / CHECKSUMS


def test_bits_survive(tmp_path):
    """NaN payloads, signed zeros and infinities come back as they were."""
    strange = torch.tensor([0x7FC00001, -1, 0x7F800000, -(1 << 31), 1], dtype=torch.int32)
    tensor = strange.view(torch.float32)
    with CheckpointWriter(tmp_path / "out", [TensorSpec("w", (5,), torch.float32)]) as writer:
        writer.write("w", tensor)
        writer.add_file("config.json", b"{}")
    assert torch.equal(bits(CheckpointReader(tmp_path / "out").tensor("w")), bits(tensor))
