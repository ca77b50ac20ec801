"""Deltas of whole models are exact, with grown vocabularies and tied heads."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from shared.compression.checkpoint import CheckpointReader, verify
from shared.compression.deltas import apply_delta, make_delta
from shared.errors import (
    ModelNotSupported,
    WrongBase,
)
from tests.fakes.random_checkpoints import (
    DTYPES,
    EMBEDDING,
    HEAD,
    LAYER,
    ROWS,
    bits,
    bloom,
    llama,
    names_in,
    rewrite,
    same_weights,
    save,
    tuned,
    weights,
)

pytestmark = pytest.mark.torch


def there_and_back(base, target, tmp_path):
    """Return the model that comes of the delta, compared with the target, its folders checked."""
    delta, out = tmp_path / "delta", tmp_path / "out"
    made = make_delta(base, target, delta)
    applied = apply_delta(base, delta, out)
    assert (made.format, applied.format) == ("llmzoo-delta 1", "llmzoo-delta 1")
    verify(delta)
    verify(out)
    assert same_weights(out, target)
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", [llama, bloom])
def test_the_round_trip_is_exact(tmp_path, make, dtype):
    base = save(make(dtype=dtype), tmp_path / "base")
    model = tuned(make(dtype=dtype))
    out = there_and_back(base, save(model, tmp_path / "target"), tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(out)
    assert loaded.dtype == dtype
    tokens = torch.arange(6).view(1, 6)
    with torch.no_grad():
        assert torch.equal(loaded(tokens).logits, model.eval()(tokens).logits)


@pytest.mark.parametrize("target_dtype", DTYPES)
@pytest.mark.parametrize("base_dtype", DTYPES)
def test_the_target_may_have_another_floating_dtype(tmp_path, base_dtype, target_dtype):
    base = save(llama(dtype=base_dtype), tmp_path / "base")
    target = save(tuned(llama()).to(target_dtype), tmp_path / "target")
    there_and_back(base, target, tmp_path)


@pytest.mark.parametrize("make", [llama, bloom])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("base_rows", "rows"), [(40, 41), (41, 41), (40, 48), (48, 41)])
def test_vocabularies_grow_and_shrink(tmp_path, make, dtype, base_rows, rows):
    base = save(make(rows=base_rows, dtype=dtype), tmp_path / "base")
    target = save(tuned(make(rows=rows, dtype=dtype)), tmp_path / "target")
    there_and_back(base, target, tmp_path)


def test_added_rows_are_kept_whole(tmp_path, base):
    target = save(tuned(llama(rows=ROWS + 1)), tmp_path / "target")
    make_delta(base, target, tmp_path / "delta")
    for name in (EMBEDDING, HEAD):
        stored = weights(tmp_path / "delta")[name]
        assert torch.equal(bits(stored[ROWS:]), bits(weights(target)[name][ROWS:]))
        assert not torch.equal(bits(stored[:ROWS]), bits(weights(target)[name][:ROWS]))


def test_a_tied_head_travels_once(tmp_path):
    base = save(llama(tied=True), tmp_path / "base")
    target = save(tuned(llama(tied=True)), tmp_path / "target")
    out = there_and_back(base, target, tmp_path)
    assert HEAD not in weights(tmp_path / "delta")
    assert HEAD not in weights(out)


def test_a_tied_head_that_the_target_stores_twice_travels_once(tmp_path):
    base = save(llama(tied=True), tmp_path / "base")
    target = save(tuned(llama(tied=True)), tmp_path / "target")
    rewrite(target, lambda tensors: {**tensors, HEAD: tensors[EMBEDDING].clone()})
    there_and_back(base, target, tmp_path)
    assert HEAD not in weights(tmp_path / "delta")


def test_a_head_that_was_untied(tmp_path):
    base = save(llama(tied=True), tmp_path / "base")
    there_and_back(base, save(tuned(llama()), tmp_path / "target"), tmp_path)


def test_a_head_that_was_tied(tmp_path, base):
    there_and_back(base, save(tuned(llama(tied=True)), tmp_path / "target"), tmp_path)


def test_strange_values_survive(tmp_path, base, target):
    def spoil(tensors):
        flat = tensors[LAYER].view(torch.int32).view(-1)
        flat[:4] = torch.tensor([0x7FC00001, -1, 0x7F800000, -(1 << 31)])
        return tensors

    rewrite(target, spoil)
    there_and_back(base, target, tmp_path)


def test_buffers_that_a_model_computes_itself_may_differ(tmp_path, base, target):
    buffer = "model.layers.0.self_attn.rotary_emb.inv_freq"
    rewrite(base, lambda tensors: {**tensors, buffer: torch.randn(4)})
    rewrite(target, lambda tensors: {**tensors, buffer.replace("0", "1"): torch.randn(8)})
    there_and_back(base, target, tmp_path)


def test_a_prefix_before_every_name(tmp_path):
    base = save(bloom(), tmp_path / "base")
    rewrite(base, lambda ts: {k.removeprefix("transformer."): v for k, v in ts.items()})
    target = save(tuned(bloom()), tmp_path / "target")
    there_and_back(base, target, tmp_path)
    with pytest.raises(WrongBase):
        apply_delta(target, tmp_path / "delta", tmp_path / "other")


def test_config_and_tokenizer_of_the_target_travel(tmp_path, base, target):
    (target / "tokenizer.json").write_text("the target's")
    (base / "tokenizer.json").write_text("the base's")
    out = there_and_back(base, target, tmp_path)
    assert (out / "tokenizer.json").read_text() == "the target's"
    assert (out / "config.json").read_bytes() == (target / "config.json").read_bytes()
    beside = {name for name in names_in(target) if ".safetensors" not in name}
    assert set(names_in(out)) == {*beside, "model.safetensors", "checksums.json"}


def test_nothing_takes_a_delta_for_a_model(delta):
    with pytest.raises(ModelNotSupported, match="no weights"):
        CheckpointReader(delta)
    with pytest.raises(OSError, match="no file named"):
        AutoModelForCausalLM.from_pretrained(delta)


def test_progress_counts_every_byte(tmp_path, base, target):
    told = []
    summary = make_delta(base, target, tmp_path / "delta", lambda *event: told.append(event))
    sizes = [tensor.nbytes for tensor in weights(target).values()]
    assert told[0] == (0, sum(sizes))
    assert told[-1] == (sum(sizes), sum(sizes))
    assert len(told) == len(sizes) + 1
    assert (summary.nbytes, summary.tensors) == (sum(sizes), len(sizes))
