import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from shared.compression import CompressionConfig, PackedLinear, Scheme, compress
from shared.compression.kernels import MemoryBudget
from shared.compression.stored_weight import from_compressed, quantise
from shared.errors import ModelLoadError, ModelNotSupported, WeightNotFinite

pytestmark = pytest.mark.torch

SCHEMES = [Scheme("bf16"), Scheme("int8"), Scheme("int4", 32), Scheme("int4", 64, symmetric=False)]


@pytest.fixture
def linear():
    torch.manual_seed(0)
    return nn.Linear(70, 37)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_it_stands_in_for_a_linear(linear, scheme):
    packed = PackedLinear.from_linear(linear, scheme)
    x = torch.randn(2, 3, 70)
    with torch.no_grad():
        result, exact = packed(x), linear(x)
    assert result.shape == (2, 3, 37)
    assert result.dtype == x.dtype
    assert (packed.in_features, packed.out_features) == (70, 37)
    assert float((result - exact).norm() / exact.norm()) < (0.12 if scheme.kind == "int4" else 0.01)
    assert packed(x[:0]).shape == (0, 3, 37)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_a_state_dict_goes_through_a_file_into_an_empty_one(scheme, bias, tmp_path):
    model = nn.Sequential(nn.Linear(70, 37, bias=bias))
    model[0] = packed = PackedLinear.from_linear(model[0], scheme)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    empty = nn.Sequential(PackedLinear(70, 37, scheme, bias=bias))
    empty.load_state_dict(load_file(tmp_path / "model.safetensors"))
    x = torch.randn(5, 70)
    assert torch.equal(empty(x), packed(x))
    again = empty.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(again[name], tensor)


def test_a_state_dict_that_does_not_fit_is_refused_by_name(linear):
    state = PackedLinear.from_linear(linear, Scheme("int8")).state_dict()
    with pytest.raises(RuntimeError, match="weight_zero"):
        PackedLinear(70, 37, Scheme("int4", 32, symmetric=False)).load_state_dict(state)
    with pytest.raises(RuntimeError, match="needs"):
        PackedLinear(70, 36, Scheme("int8")).load_state_dict(state)
    with pytest.raises(RuntimeError, match="surplus"):
        PackedLinear(70, 37, Scheme("int8")).load_state_dict({**state, "surplus": torch.ones(1)})


def test_an_empty_one_says_that_it_is_empty():
    packed = PackedLinear(8, 4, Scheme("int8"))
    assert "empty" in repr(packed)
    with pytest.raises(ModelLoadError, match="before its weight was loaded"):
        packed(torch.zeros(1, 8))


def test_stored_tensors_build_one_and_wrong_ones_are_named(linear):
    scheme = Scheme("int4", 32, symmetric=False)
    tensors = quantise(linear.weight, scheme).tensors()
    packed = PackedLinear.from_tensors(tensors, (37, 70), scheme)
    x = torch.randn(2, 70)
    expected = PackedLinear.from_linear(linear, scheme)(x) - linear.bias.detach()
    assert torch.allclose(packed(x), expected, atol=1e-6)
    with pytest.raises(ModelNotSupported, match="head: weight_zero is missing"):
        PackedLinear.from_tensors(
            {name: t for name, t in tensors.items() if name != "weight_zero"},
            (37, 70),
            scheme,
            name="head",
        )


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_the_stored_weight_survives_changes_of_dtype(linear, scheme):
    packed = PackedLinear.from_linear(linear, scheme)
    before = {name: t.clone() for name, t in packed.stored().tensors().items()}
    x = torch.randn(3, 70)
    first = packed(x)
    packed.to(torch.bfloat16)
    assert packed.dtype == packed.bias.dtype == torch.bfloat16
    assert packed(x.bfloat16()).dtype == torch.bfloat16
    packed.half().float()
    assert all(torch.equal(packed.stored().tensors()[name], t) for name, t in before.items())
    assert torch.allclose(packed(x), first, atol=0.02)  # the bias went through 16 bits


def test_activations_of_another_dtype_come_back_in_their_own(linear):
    packed = PackedLinear.from_linear(linear, Scheme("int8"))
    assert packed(torch.randn(3, 70, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_a_deep_copy_computes_the_same(linear, scheme):
    packed = PackedLinear.from_linear(linear, scheme, dtype=torch.bfloat16)
    x = torch.randn(3, 70).bfloat16()
    assert torch.equal(copy.deepcopy(packed)(x), packed(x))


def test_a_moved_copy_gives_its_memory_back(linear):
    copies = MemoryBudget(2 * 37 * 70 * 4)
    packed = PackedLinear.from_linear(linear, Scheme("int8"), copies=copies)
    assert copies.left == 37 * 70 * 4
    packed.load_state_dict(packed.state_dict())
    assert copies.left == 37 * 70 * 4
    assert packed(torch.randn(40, 70)).shape == (40, 37)


def test_the_kernel_and_its_absence_can_be_read(linear):
    assert PackedLinear.from_linear(linear, Scheme("int8")).fallback_reason is None
    quick = PackedLinear.from_linear(linear, Scheme("int8"), dtype=torch.bfloat16)
    assert quick.kernel == "int8pack"
    packed = PackedLinear.from_linear(linear, Scheme("int8"), dtype=torch.float64)
    assert packed.kernel == "reference"
    assert packed.fallback_reason == "no kernels for torch.float64"
    assert "int8 per channel" in repr(packed)


def test_weights_that_are_not_finite_are_refused_by_name(linear):
    linear.weight.data[3, 3] = float("nan")
    for scheme in SCHEMES:
        with pytest.raises(WeightNotFinite, match="head"):
            PackedLinear.from_linear(linear, scheme, name="head")


def test_a_channel_of_zeros_stays_zero(linear):
    linear.weight.data[4] = 0
    for scheme in SCHEMES:
        assert not PackedLinear.from_linear(linear, scheme).stored().values()[4].any()


def test_the_original_s_groups_of_int8_become_channels():
    weight = torch.randn(24, 512)
    stored = from_compressed(compress(weight, CompressionConfig()))
    assert stored.scheme == Scheme("int8")
    assert float((stored.values() - weight).norm() / weight.norm()) < 0.015
