"""The difference of two tensors is exact, whatever their bits are."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.compression.deltas.bits import integer_of, xor_with_base
from tests.fakes.random_checkpoints import bits

pytestmark = pytest.mark.torch

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
DTYPES = [*FLOATS, torch.int8, torch.uint8, torch.bool, torch.int64, torch.float8_e4m3fn]
SIDES = st.integers(0, 5)


@st.composite
def tensors(draw, shape, dtype):
    """Any bits at all, but for bool, where only two values exist."""
    size = shape[0] * shape[1]
    data = torch.tensor(
        list(draw(st.binary(min_size=size * dtype.itemsize, max_size=size * dtype.itemsize))),
        dtype=torch.uint8,
    )
    return (data.bool() if dtype is torch.bool else data.view(dtype)).reshape(shape)


@st.composite
def two(draw):
    dtype = draw(st.sampled_from(DTYPES))
    columns = draw(st.integers(1, 4))
    return tuple(draw(tensors((draw(SIDES), columns), dtype)) for _ in range(2))


@given(two())
def test_there_and_back_is_exact_for_any_bits_and_any_number_of_rows(pair):
    target, base = pair
    there = target.clone()
    xor_with_base(there, base)
    delta = there.view(integer_of(target.dtype)).clone()
    back = delta.view(target.dtype)
    xor_with_base(back, base)
    assert torch.equal(bits(back), bits(target))


@given(two())
def test_the_delta_alone_decides_rows_that_the_base_lacks(pair):
    target, base = pair
    delta = target.clone()
    xor_with_base(delta, base)
    assert torch.equal(bits(delta[len(base) :]), bits(target[len(base) :]))


@pytest.mark.parametrize("to", FLOATS)
@pytest.mark.parametrize("of", FLOATS)
def test_a_base_of_another_floating_dtype(of, to):
    torch.manual_seed(0)
    base, target = torch.randn(64, 8).to(of), torch.randn(64, 8).to(to)
    tensor = target.clone()
    xor_with_base(tensor, base)
    assert not torch.equal(bits(tensor), bits(target))
    xor_with_base(tensor, base)
    assert torch.equal(bits(tensor), bits(target))


def test_equal_tensors_differ_in_nothing():
    tensor = torch.randn(4, 4)
    base = tensor.clone()
    xor_with_base(tensor, base)
    assert not bits(tensor).any()


def test_a_scalar():
    tensor = torch.tensor(3.5)
    xor_with_base(tensor, torch.tensor(1.25))
    xor_with_base(tensor, torch.tensor(1.25))
    assert tensor.item() == 3.5


def test_subtraction_would_not_do():
    """Why it is the exclusive or: this is what it stands against."""
    torch.manual_seed(0)
    base, target = torch.randn(10_000), torch.randn(10_000)
    assert not torch.equal((target - base) + base, target)
