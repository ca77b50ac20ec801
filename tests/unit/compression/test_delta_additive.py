"""Additive deltas, as FastChat's and LLMZoo's tools make them."""

import shutil

import pytest
import torch

from shared.compression.deltas import ADDITIVE, apply_delta
from shared.errors import (
    CheckpointMismatch,
)
from tests.fakes.random_checkpoints import (
    EMBEDDING,
    HEAD,
    LAYER,
    ROWS,
    bits,
    bloom,
    llama,
    refused,
    rewrite,
    same_weights,
    save,
    tuned,
    weights,
)

pytestmark = pytest.mark.torch


def additive(base, target):
    """Make a delta as those tools do: float16, added rows against zeros."""
    base, target = base.state_dict(), target.state_dict()
    difference = {}
    for name, tensor in target.items():
        of_base = torch.zeros_like(tensor, dtype=torch.float16)
        rows = slice(min(len(base[name]), len(tensor)))
        of_base[rows] = base[name][rows].half()
        difference[name] = tensor.half() - of_base
    return difference


def save_additive(model, base, folder):
    save(model.half(), folder)
    difference = additive(base, model)
    rewrite(folder, lambda tensors: {name: difference[name] for name in tensors})
    return folder


@pytest.mark.parametrize("make", [llama, bloom])
@pytest.mark.parametrize("base_dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize(("base_rows", "rows"), [(40, 40), (40, 41), (41, 41)])
def test_additive_deltas(tmp_path, make, base_dtype, base_rows, rows):
    base_model = make(rows=base_rows, dtype=base_dtype)
    base = save(base_model, tmp_path / "base")
    target_model = tuned(make(rows=rows))
    delta = save_additive(target_model, base_model, tmp_path / "delta")
    assert apply_delta(base, delta, tmp_path / "out").format == ADDITIVE
    found, difference, of_base = (weights(tmp_path / n) for n in ("out", "delta", "base"))
    assert found.keys() == difference.keys()
    for name, tensor in found.items():
        expected = difference[name].clone()
        common = min(len(expected), len(of_base[name]))
        expected[:common] = (
            of_base[name][:common].half().double() + expected[:common].double()
        ).half()
        assert tensor.dtype == torch.float16
        assert torch.equal(bits(tensor), bits(expected))
        # Twice rounded: the difference, then the sum.
        wanted = target_model.state_dict()[name]
        torch.testing.assert_close(tensor, wanted, rtol=2e-3, atol=2e-3)


def test_a_pad_token_that_the_base_has_already_zeroes_nothing(tmp_path):
    """Defect of the old tool: without new tokens it set the whole embedding to zero."""
    model = llama(rows=ROWS + 1, dtype=torch.float16)
    base = save(model, tmp_path / "base")
    delta = shutil.copytree(base, tmp_path / "delta")
    rewrite(delta, lambda tensors: {k: torch.zeros_like(v) for k, v in tensors.items()})
    apply_delta(base, delta, tmp_path / "out")
    assert same_weights(tmp_path / "out", base)


def test_a_tied_head_is_added_once(tmp_path):
    base_model, target_model = llama(tied=True).half(), tuned(llama(tied=True)).half()
    base = save(base_model, tmp_path / "base")
    delta = save_additive(target_model, base_model, tmp_path / "delta")
    # As the tools leave it that store a tied head twice.
    rewrite(delta, lambda tensors: {**tensors, HEAD: tensors[EMBEDDING].clone()})
    apply_delta(base, delta, tmp_path / "out")
    found = weights(tmp_path / "out")
    assert torch.equal(found[HEAD], found[EMBEDDING])
    torch.testing.assert_close(found[HEAD], target_model.lm_head.weight, rtol=2e-3, atol=2e-3)


def test_additive_deltas_of_another_shape(tmp_path, base):
    delta = save(bloom(), tmp_path / "delta")
    refused(CheckpointMismatch, apply_delta, base, delta, tmp_path / "out")


def test_integers_cannot_be_added(tmp_path, base, target):
    rewrite(target, lambda tensors: {**tensors, LAYER: tensors[LAYER].to(torch.int32)})
    rewrite(base, lambda tensors: {**tensors, LAYER: tensors[LAYER].to(torch.int32)})
    fault = refused(CheckpointMismatch, apply_delta, base, target, tmp_path / "out")
    assert fault.tensor == LAYER
