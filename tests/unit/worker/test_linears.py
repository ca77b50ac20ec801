from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from services.worker.engine.linears import fuse_linears, multiplication, pack_linears
from shared.compression import PackedLinear, Scheme
from tests.fakes.tiny_models import make_model

pytestmark = pytest.mark.torch

NAMES, WIDTHS, INPUTS = ("q", "k", "v"), (64, 32, 32), 64
SCHEMES = [Scheme("bf16"), Scheme("int8"), Scheme("int4"), Scheme("int4", 64, symmetric=False)]


class Three(nn.Module):
    """Three Linears of one input; a bias where it is asked for."""

    def __init__(self, biases, dtype=torch.float32):
        super().__init__()
        torch.manual_seed(0)
        for name, width, bias in zip(NAMES, WIDTHS, biases, strict=True):
            setattr(self, name, nn.Linear(INPUTS, width, bias=bias, dtype=dtype))

    def packed(self, *schemes):
        for name, scheme in zip(NAMES, schemes, strict=True):
            setattr(self, name, PackedLinear.from_linear(getattr(self, name), scheme))
        return self

    def outputs(self, x):
        return torch.cat([getattr(self, name)(x) for name in NAMES], dim=-1)


BIASES = [(False, False, False), (True, True, True), (True, False, True), (False, False, True)]


@pytest.mark.parametrize("biases", BIASES)
@pytest.mark.parametrize("rows", [1, 7])
@torch.inference_mode()
def test_linears_of_one_input_become_one(biases, rows):
    module, x = Three(biases), torch.randn(rows, INPUTS)
    expected = module.outputs(x)

    fuse_linears(module, NAMES, "qkv")

    torch.testing.assert_close(module.qkv(x), expected)
    assert [name for name, _ in module.named_children()] == ["qkv"]
    assert (module.qkv.bias is not None) == any(biases)
    assert (module.qkv.in_features, module.qkv.out_features) == (INPUTS, sum(WIDTHS))


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("biases", BIASES)
@pytest.mark.parametrize("rows", [1, 7, 40])
@torch.inference_mode()
def test_packed_linears_of_one_input_become_one(scheme, dtype, biases, rows):
    module, x = Three(biases, dtype).packed(*[scheme] * 3), torch.randn(rows, INPUTS, dtype=dtype)
    expected = module.outputs(x)

    fuse_linears(module, NAMES, "qkv")

    # No weight is packed anew: the codes and scales are those there were.
    tolerance = 1e-4 if dtype == torch.float32 and scheme.kind != "bf16" else 2e-2
    torch.testing.assert_close(module.qkv(x), expected, rtol=tolerance, atol=tolerance)
    assert isinstance(module.qkv, PackedLinear)
    assert (module.qkv.scheme, module.qkv.dtype) == (scheme, dtype)
    assert [name for name, _ in module.named_children()] == ["qkv"]


class Doubling(nn.Linear):
    """A Linear that computes something else."""

    def forward(self, x):
        return 2 * super().forward(x)


def mixed_schemes():
    return Three((False,) * 3).packed(Scheme("int8"), Scheme("int4"), Scheme("int8"))


def one_packed():
    module = Three((False,) * 3)
    module.q = PackedLinear.from_linear(module.q, Scheme("int8"))
    return module


def one_other():
    module = Three((False,) * 3)
    module.v = Doubling(INPUTS, 32)
    return module


@pytest.mark.parametrize("make", [mixed_schemes, one_packed, one_other])
def test_what_is_not_of_one_kind_is_asked_part_by_part(make):
    module = make()
    x = torch.randn(3, next(iter(module.children())).in_features)
    parts = torch.cat([getattr(module, name)(x) for name in NAMES], dim=-1)
    order = torch.randperm(parts.shape[1])
    reordered = deepcopy(module)

    fuse_linears(module, NAMES, "qkv")
    fuse_linears(reordered, NAMES, "qkv", order)

    assert [name for name, _ in module.named_children()] == ["qkv"]
    assert torch.equal(module.qkv(x), parts)
    assert torch.equal(reordered.qkv(x), parts[:, order])


@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom"])
def test_a_bfloat16_model_is_packed_without_losing_a_bit(name):
    model = make_model(name, torch.bfloat16)
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        expected = deepcopy(model).float()(ids).logits
        before = model(ids).logits.float()
        pack_linears(model)
        after = model(ids).logits.float()

    packed = [m for m in model.modules() if isinstance(m, PackedLinear)]
    assert packed
    assert isinstance(model.get_output_embeddings(), PackedLinear)
    assert {m.scheme.kind for m in packed} == {"bf16"}
    assert not [m for m in model.modules() if type(m) is nn.Linear]
    spread = float(expected.std())
    assert float((after - expected).std()) < 1.5 * float((before - expected).std()) + 1e-3 * spread


def test_a_float32_model_is_left_alone():
    model = make_model("llama")
    pack_linears(model)
    assert not [m for m in model.modules() if isinstance(m, PackedLinear)]


def test_so_is_one_on_another_device():
    device = SimpleNamespace(type="cuda")
    pack_linears(SimpleNamespace(device=device, dtype=torch.bfloat16))


@pytest.mark.parametrize("scheme", [None, Scheme("bf16"), Scheme("int8")], ids=str)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 5, 40])
@torch.inference_mode()
def test_what_follows_a_linear_is_the_same_in_one_call(scheme, bias, rows):
    torch.manual_seed(0)
    linear = nn.Linear(INPUTS, 32, bias=bias, dtype=torch.bfloat16)
    if scheme is not None:
        linear = PackedLinear.from_linear(linear, scheme)
    multiply = multiplication(linear)
    x, other = (torch.randn(rows, width, dtype=torch.bfloat16) for width in (INPUTS, 32))
    kept = other.clone()

    results = multiply(x), multiply(x, "silu"), multiply(x, "add", other), multiply(x, "mul", other)

    plain = linear(x)
    expected = plain, nn.functional.silu(plain), plain + other, plain * other
    torch.testing.assert_close(results, expected, rtol=2e-2, atol=2e-2)
    assert torch.equal(other, kept)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_what_torchscript_cannot_compile_is_known_before():
    linear, x = nn.Linear(INPUTS, 32, dtype=torch.bfloat16), torch.randn(3, INPUTS).bfloat16()
    taken = [linear, PackedLinear.from_linear(linear, Scheme("int8"))]
    left = [Doubling(INPUTS, 32), PackedLinear.from_linear(linear, Scheme("int4", 48))]

    for each in map(multiplication, taken):
        assert each.compiles
        assert torch.equal(torch.jit.script(each)(x, "silu"), each(x, "silu"))
    assert not any(multiplication(each).compiles for each in left)
