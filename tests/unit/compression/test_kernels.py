import random

import pytest
import torch

from shared.compression.kernels import COPY_FROM_ROWS, Kernels, MemoryBudget, checked, choose
from shared.compression.products import (
    Int4Product,
    Int8Product,
    PlainProduct,
    PrepackedProduct,
    Reference,
)
from shared.compression.scheme import Scheme
from shared.compression.stored_weight import quantise

pytestmark = pytest.mark.torch

SCHEMES = [
    Scheme("bf16"),
    Scheme("int8"),
    Scheme("int4", 32),
    Scheme("int4", 32, symmetric=False),
    Scheme("int4", 64, symmetric=False),
    Scheme("int4", 128),
    Scheme("int4", 48),
]
PLENTY = 1 << 30


def shapes():
    """Odd ones and round ones: (out, in, rows)."""
    dice = random.Random(7)
    odd = [(dice.randint(1, 200), dice.randint(1, 300), dice.randint(1, 33)) for _ in range(6)]
    return [*odd, (1, 1, 1), (5, 33, 4), (64, 64, 1), (192, 576, 33), (2100, 576, 2)]


def assert_close(result, rows, weight, bias):
    """Compare with fp64.

    A sum of K products in fp32 is off by at most K * 2^-24 of the sum of magnitudes. In bf16 the
    scale, the zero, a dequantised value and the result are each rounded once, by 2^-9 of
    themselves; code * scale and zero are up to three times the value.
    """
    exact = rows.double() @ weight.double().t() + bias.double()
    magnitude = rows.double().abs() @ weight.double().abs().t() + bias.double().abs()
    eps = torch.finfo(result.dtype).eps
    tolerance = rows.shape[1] * 2**-24 + 4 * eps
    assert ((result.double() - exact).abs() <= tolerance * magnitude + 1e-30).all()


@pytest.mark.parametrize("shape", shapes(), ids=str)
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_kernel_computes_the_stored_values(shape, scheme, dtype):
    outputs, inputs, count = shape
    generator = torch.Generator().manual_seed(outputs)
    weight = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
    rows = torch.randn(count, inputs, generator=generator).to(dtype)
    bias = torch.randn(outputs, generator=generator).to(dtype)
    stored = quantise(weight, scheme)
    kernels = choose(stored, dtype, MemoryBudget(PLENTY))
    products = {kernels.few, kernels.many or kernels.few, Reference(stored, dtype)}
    if scheme.kind == "int8":
        products.add(Int8Product(stored, dtype))
    if scheme.kind == "int4" and scheme.group_size != 48:
        products.add(Int4Product(stored, dtype))
    for product in products:
        result = product(rows.to(product.dtype), bias.to(product.dtype))
        assert result.dtype == product.dtype
        assert result.is_contiguous()
        assert_close(result, rows, stored.values(), bias)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(37, 70), (192, 576), (2100, 96)])
def test_a_kernel_gives_back_the_stored_tensors_bit_for_bit(scheme, dtype, shape):
    stored = quantise(torch.randn(shape), scheme)
    expected = {name: tensor.clone() for name, tensor in stored.tensors().items()}
    products = [choose(stored, dtype, MemoryBudget()).few]
    if scheme.kind == "int4" and scheme.group_size != 48:
        products.append(Int4Product(stored, dtype))
    for product in products:
        back = product.stored()
        assert back.shape == shape
        assert back.tensors().keys() == expected.keys()
        for name, tensor in back.tensors().items():
            assert tensor.dtype == expected[name].dtype
            assert torch.equal(tensor, expected[name])


def test_other_dtypes_are_served_by_the_reference_and_say_why():
    stored = quantise(torch.randn(40, 64), Scheme("int8"))
    kernels = choose(stored, torch.float16, MemoryBudget(PLENTY))
    assert isinstance(kernels.few, Reference)
    assert kernels.many is None
    assert kernels.reason == "no kernels for torch.float16"
    rows = torch.randn(3, 64).half()
    assert_close(kernels.few(rows, torch.zeros(40)).half(), rows, stored.values(), torch.zeros(40))


def test_group_sizes_that_no_kernel_knows_say_so():
    stored = quantise(torch.randn(16, 96), Scheme("int4", 48))
    kernels = choose(stored, torch.bfloat16, MemoryBudget())
    assert kernels.reason == "no kernel for groups of 48"


def test_the_copy_serves_large_batches_within_the_budget_only():
    stored = quantise(torch.randn(64, 64), Scheme("int4", 32))
    budget = MemoryBudget(64 * 64 * 4)
    with_copy = choose(stored, torch.float32, budget)
    assert budget.left == 0
    without = choose(stored, torch.float32, budget)
    assert without.many is None
    assert without.for_rows(COPY_FROM_ROWS) is without.few
    assert isinstance(with_copy.many, PrepackedProduct)
    assert with_copy.for_rows(COPY_FROM_ROWS) is with_copy.many
    assert with_copy.nbytes == without.nbytes + 64 * 64 * 4


def test_where_a_kernel_is_fast_for_few_rows_the_copy_waits_for_many():
    stored = quantise(torch.randn(64, 64), Scheme("int8"))
    few, many = Int8Product(stored, torch.float32), PrepackedProduct(stored, torch.float32)
    kernels = Kernels(few, None, many)
    assert kernels.for_rows(COPY_FROM_ROWS - 1) is few
    assert kernels.for_rows(COPY_FROM_ROWS) is many


def test_a_layer_that_no_kernel_serves_well_uses_its_copy_always():
    stored = quantise(torch.randn(16, 96), Scheme("int4", 48))
    kernels = choose(stored, torch.float32, MemoryBudget(PLENTY))
    assert kernels.for_rows(1) is kernels.many


def test_bf16_is_multiplied_in_its_own_layout_or_widened_for_many_rows():
    stored = quantise(torch.randn(64, 64), Scheme("bf16"))
    kernels = choose(stored, torch.bfloat16, MemoryBudget())
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert isinstance(kernels.for_rows(16), PrepackedProduct)
    else:
        assert isinstance(kernels.for_rows(1), PlainProduct)
        assert isinstance(kernels.for_rows(16), Reference)
        assert "bf16" in kernels.reason
    assert kernels.nbytes == stored.nbytes


class Wrong:
    """A product that computes nonsense, as an operator broken on some CPU might."""

    name = "wrong"
    nbytes = 0

    def __init__(self, stored):
        self._outputs = stored.shape[0]

    def __call__(self, rows, _bias):
        return torch.ones(rows.shape[0], self._outputs)


def test_a_kernel_that_computes_nonsense_or_fails_is_replaced():
    stored = quantise(torch.randn(64, 64), Scheme("int8"))
    product, reason = checked(lambda: Wrong(stored), stored, torch.float32)
    assert isinstance(product, Reference)
    assert reason == "wrong with 1 rows differs from the reference"

    def fail():
        raise RuntimeError("needs avx512\nstack")

    product, reason = checked(fail, stored, torch.float32)
    assert isinstance(product, Reference)
    assert reason == "needs avx512"
