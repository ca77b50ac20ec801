"""Attention against the textbook's, one head at a time in float64."""

from itertools import product

import pytest
import torch

from services.worker.engine.attention import (
    causal_bias,
    chunk_attention,
    decode_attention,
    row_bias,
)

pytestmark = pytest.mark.torch

SCALE = 0.3
GROUPS = [(9, 3), (4, 4), (8, 1)]
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
DTYPES = list(TOLERANCE)


def plain(query, keys, values, seen, softcap=None):
    """Return one query's output [heads, value_dim]; keys [kv_heads, length, dim]; seen: bool."""
    heads, groups = len(query), len(query) // len(keys)
    out = []
    for head in range(heads):
        scores = keys[head // groups].double() @ query[head].double() * SCALE
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        weights = scores.masked_fill(~seen, float("-inf")).softmax(dim=-1)
        out.append(weights @ values[head // groups].double())
    return torch.stack(out)


def visible(length, columns, window=None):
    """Return which columns the last of `length` tokens sees."""
    at = torch.arange(columns)
    return (at < length) & (at >= (0 if window is None else length - window))


def close(out, expected):
    tolerance = TOLERANCE[out.dtype]
    torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=tolerance)


def rows_of_cache(rows, kv_heads, columns, dtype):
    """As the cache gives them: of more rows and more room, with old numbers beyond."""
    keys = torch.randn(rows + 3, kv_heads, 64, 16).to(dtype)[:rows, :, :columns]
    return keys, torch.randn(rows + 3, kv_heads, 64, 24).to(dtype)[:rows, :, :columns]


@pytest.fixture(params=product([None, 5, 30], [None, 0.7], DTYPES, GROUPS), ids=str)
def case(request):
    """Window, softcap, dtype, and the numbers of heads."""
    return request.param


@pytest.mark.parametrize("lengths", [[37], [37, 37, 37], [1, 37, 12, 36, 5]], ids=str)
def test_decoding(lengths, case):
    window, softcap, dtype, (heads, kv_heads) = case
    torch.manual_seed(0)
    query = torch.randn(len(lengths), heads, 16).to(dtype)
    keys, values = rows_of_cache(len(lengths), kv_heads, 37, dtype)
    bias = None
    if window is not None or len(set(lengths)) > 1:
        bias = row_bias(torch.tensor(lengths)[:, None], 37, window, dtype)

    asked = query.view(len(lengths), kv_heads, -1, 16)
    out = decode_attention(asked, keys, values, bias=bias, scale=SCALE, softcap=softcap)
    out = out.flatten(1, 2)

    assert out.shape == (len(lengths), heads, 24)
    for row, length in enumerate(lengths):
        seen = visible(length, 37, window)
        close(out[row], plain(query[row], keys[row], values[row], seen, softcap))


@pytest.mark.parametrize(("start", "end"), [(0, 1), (0, 11), (20, 31), (36, 37)])
def test_a_chunk(start, end, case):
    window, softcap, dtype, (heads, kv_heads) = case
    torch.manual_seed(0)
    query = torch.randn(end - start, heads, 16).to(dtype)
    keys, values = (each[0] for each in rows_of_cache(1, kv_heads, end, dtype))
    bias = None
    if start or window is not None:
        bias = causal_bias(end - start, end, window, query)

    out = chunk_attention(query, keys, values, bias=bias, scale=SCALE, softcap=softcap)

    assert out.shape == (end - start, heads, 24)
    for at in range(end - start):
        seen = visible(start + at + 1, end, window)
        close(out[at], plain(query[at], keys, values, seen, softcap))


@pytest.mark.parametrize("window", [None, 1, 4, 9, 100])
@pytest.mark.parametrize(("tokens", "length"), [(9, 9), (3, 9), (1, 9)])
def test_a_causal_bias_hides_what_is_later_and_what_the_window_has_left(tokens, length, window):
    bias = causal_bias(tokens, length, window, torch.zeros(1, dtype=torch.bfloat16))

    assert bias.dtype == torch.bfloat16
    for at in range(tokens):
        seen = visible(length - tokens + at + 1, length, window)
        expected = torch.where(seen, 0.0, float("-inf"))
        assert torch.equal(bias[at].float(), expected)


@pytest.mark.parametrize("window", [None, 1, 4, 100])
def test_a_row_bias_hides_what_is_beyond_a_row_and_what_the_window_has_left(window):
    lengths = [1, 9, 4]

    bias = row_bias(torch.tensor(lengths), 9, window, torch.float32)

    for row, length in enumerate(lengths):
        expected = torch.where(visible(length, 9, window), 0.0, float("-inf"))
        assert torch.equal(bias[row], expected)
