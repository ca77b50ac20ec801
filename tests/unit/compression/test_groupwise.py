import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.compression import CompressedTensor, CompressionConfig, compress, decompress
from shared.errors import ConfigurationError, WeightNotFinite

pytestmark = pytest.mark.torch


def original(x, config):
    """LLMZoo's algorithm from its description, values only, for a 2-d fp32 tensor and dim 1."""
    pad = -x.shape[1] % config.group_size
    groups = torch.nn.functional.pad(x, (0, pad)).view(x.shape[0], -1, config.group_size)
    if config.symmetric:
        top = 2 ** (config.num_bits - 1) - 1
        scale = top / groups.abs().amax(2, keepdim=True)
        back = (groups * scale).clamp(-top, top).round() / scale
    else:
        top = 2**config.num_bits - 1
        low = groups.amin(2, keepdim=True)
        scale = top / (groups.amax(2, keepdim=True) - low)
        back = ((groups - low) * scale).clamp(0, top).round() / scale + low
    return back.flatten(1)[:, : x.shape[1]]


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def relative(approximate, exact):
    return float((approximate.float() - exact.float()).norm() / exact.float().norm())


def round_trip(x, config):
    return decompress(compress(x, config))


@pytest.mark.parametrize("columns", [1, 255, 256, 300, 1024])
@pytest.mark.parametrize("symmetric", [True, False])
def test_eight_bits_give_the_very_values_of_the_original(columns, symmetric):
    config = CompressionConfig(symmetric=symmetric)
    x = random(33, columns)
    assert torch.equal(round_trip(x, config), original(x, config))


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7])
def test_fewer_bits_symmetric_give_the_very_values_of_the_original(bits):
    config = CompressionConfig(bits, 32)
    x = random(33, 100)
    assert torch.equal(round_trip(x, config), original(x, config))


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_packed_asymmetric_is_the_original_but_for_the_rounding_of_its_zero(bits):
    config = CompressionConfig(bits, 32, symmetric=False)
    x = random(64, 256)
    step = (x.amax() - x.amin()) / (2**bits - 1)
    off = (round_trip(x, config) - original(x, config)).abs()
    # A value next to the border of two codes may fall to the other side: one step, and rare.
    assert (off <= step * 1.01).all()
    assert (off > step * 0.02).float().mean() < 0.01
    assert relative(round_trip(x, config), x) <= relative(original(x, config), x) * 1.01


def test_errors_on_gaussian_weights_are_those_of_the_specification():
    x = random(512, 1024)
    assert 0.0068 < relative(round_trip(x, CompressionConfig()), x) <= 0.0075
    assert relative(round_trip(x, CompressionConfig(4, 32, 1, symmetric=False)), x) <= 0.085


@pytest.mark.parametrize("symmetric", [True, False])
def test_four_bits_take_at_most_0_56_byte_a_weight_at_group_128(symmetric):
    compressed = compress(random(64, 1024), CompressionConfig(4, 128, 1, symmetric))
    assert compressed.codes.nbytes == 64 * 1024 // 2
    assert compressed.nbytes <= 0.56 * 64 * 1024


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("largest", [1e-3, 1e-5])
def test_tiny_weights_in_16_bits_survive(dtype, largest):
    x = random(8, 512)
    x = (x / x.abs().amax() * largest).to(dtype)
    back = round_trip(x, CompressionConfig())
    assert back.dtype == dtype
    assert relative(back, x) <= 0.01


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_groups_of_zeros_are_exact(bits, symmetric, dtype):
    x = torch.zeros(3, 64, dtype=dtype)
    assert torch.equal(round_trip(x, CompressionConfig(bits, 32, 1, symmetric)), x)


@pytest.mark.parametrize("bits", range(2, 9))
@given(value=st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False))
@settings(max_examples=60, deadline=None)
def test_constant_groups_are_exact_in_asymmetric_mode(bits, value):
    # Below 1e-30 the difference from a bf16 number may be too small for fp32 to divide by.
    x = torch.full((2, 64), value if abs(value) > 1e-30 else 0.0)
    assert torch.equal(round_trip(x, CompressionConfig(bits, 32, 1, symmetric=False)), x)


@pytest.mark.parametrize("bits", [4, 8])
def test_groups_far_from_zero_stay_near(bits):
    x = 0.3 + 1e-5 * random(4, 64)
    back = round_trip(x, CompressionConfig(bits, 32, 1, symmetric=False))
    assert ((back - x).abs() / x <= 5e-4).all()


@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=1, max_dims=4, max_side=9),
        elements=st.floats(-100, 100, width=32),
    ),
    st.integers(-4, 3),
    st.sampled_from([2, 4, 8, 12]),
    st.integers(2, 8),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_any_shape_any_dimension(array, dim, group, bits, symmetric):
    x = torch.from_numpy(array)
    if not -x.ndim <= dim < x.ndim or (bits == 2 and group % 4):
        return
    back = round_trip(x, CompressionConfig(bits, group, dim, symmetric))
    assert back.shape == x.shape
    assert back.dtype == x.dtype
    # No value is off by more than half a step, or by what bf16 misses of the middle code.
    top = 2 ** (bits - 1) - 1 if symmetric else 2**bits - 1
    extent = float(x.abs().amax()) * (1 if symmetric else 2)
    assert float((back - x).abs().amax()) <= 0.5 * extent / top * 1.26 + extent * 2**-8 + 1e-30


def test_a_transposed_view_gives_what_its_copy_gives():
    view = random(96, 40).t()
    config = CompressionConfig(4, 32, -1, symmetric=False)
    assert torch.equal(round_trip(view, config), round_trip(view.contiguous(), config))


def test_groups_along_dimension_0_are_those_of_the_transpose():
    x = random(100, 7)
    by_rows = round_trip(x, CompressionConfig(8, 32, 0))
    assert torch.equal(by_rows, round_trip(x.t(), CompressionConfig(8, 32, 1)).t())


def test_more_values_than_one_block_give_the_same_as_line_by_line():
    x, config = random(3000, 512), CompressionConfig(4, 64)
    assert torch.equal(round_trip(x, config)[-1:], round_trip(x[-1:], config))


@pytest.mark.parametrize("shape", [(0, 8), (8, 0), (0,)])
@pytest.mark.parametrize("bits", [4, 8])
def test_empty_tensors_come_back_empty(shape, bits):
    back = round_trip(torch.empty(shape, dtype=torch.bfloat16), CompressionConfig(bits, 32, -1))
    assert back.shape == shape
    assert back.dtype == torch.bfloat16


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("symmetric", [True, False])
def test_values_that_are_not_finite_are_refused_by_name(bad, symmetric):
    x = random(4, 64)
    x[2, 3] = bad
    with pytest.raises(WeightNotFinite, match=r"layers\.3\.weight") as caught:
        compress(x, CompressionConfig(symmetric=symmetric), name="layers.3.weight")
    assert caught.value.tensor == "layers.3.weight"


@pytest.mark.parametrize(
    "options",
    [{"num_bits": 1}, {"num_bits": 9}, {"group_size": 0}, {"num_bits": 4, "group_size": 33}],
)
def test_a_config_without_meaning_is_refused(options):
    with pytest.raises(ConfigurationError):
        CompressionConfig(**options)


def test_what_cannot_be_grouped_is_refused():
    with pytest.raises(ConfigurationError, match="no dimension"):
        compress(random(4), CompressionConfig())
    with pytest.raises(ConfigurationError, match="int32"):
        compress(torch.zeros(4, 4, dtype=torch.int32))


def test_decompress_takes_the_config_and_refuses_another():
    compressed = compress(random(4, 64), CompressionConfig())
    assert isinstance(compressed, CompressedTensor)
    again = decompress(compressed, CompressionConfig())
    assert torch.equal(again, decompress(compressed))
    with pytest.raises(ConfigurationError):
        decompress(compressed, CompressionConfig(num_bits=4))
