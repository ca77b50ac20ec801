import pytest
import torch

from services.worker.engine.attention import attention
from shared.errors import ModelNotSupported

pytestmark = pytest.mark.torch


class Layer(torch.nn.Module):
    def __init__(self, groups):
        super().__init__()
        self.num_key_value_groups = groups


def plain_attention(query, key, value, mask, scaling):
    """Attention as in the textbook, one head at a time."""
    groups = query.shape[1] // key.shape[1]
    out = torch.empty(*query.shape[:3], value.shape[-1])
    for head in range(query.shape[1]):
        scores = query[:, head] @ key[:, head // groups].transpose(1, 2) * scaling
        if mask is not None:
            scores = scores + mask[:, 0]
        out[:, head] = scores.softmax(dim=-1) @ value[:, head // groups]
    return out.transpose(1, 2)


def causal_mask(length):
    return torch.full((1, 1, length, length), float("-inf")).triu(1)


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize(("heads", "kv_heads"), [(9, 3), (4, 4), (8, 1)])
@pytest.mark.parametrize("masked", [False, True])
def test_decoding_is_attention_over_views_of_the_cache(rows, heads, kv_heads, masked):
    torch.manual_seed(0)
    query = torch.randn(rows, heads, 1, 16)
    # As the cache gives them: more slots and more room than are read.
    key = torch.randn(8, kv_heads, 64, 16)[:rows, :, :37]
    value = torch.randn(8, kv_heads, 64, 24)[:rows, :, :37]
    mask = None
    if masked:
        mask = torch.zeros(rows, 1, 1, 37)
        for row in range(rows):
            mask[row, ..., row + 1 :] = float("-inf")

    out, weights = attention(Layer(heads // kv_heads), query, key, value, mask, scaling=0.3)

    torch.testing.assert_close(out, plain_attention(query, key, value, mask, 0.3))
    assert weights is None


def test_a_prompt_attends_causally():
    torch.manual_seed(0)
    query, key, value = torch.randn(1, 6, 11, 8), torch.randn(1, 2, 11, 8), torch.randn(1, 2, 11, 8)

    out, _ = attention(Layer(3), query, key, value, None, scaling=0.5)

    expected = plain_attention(query, key, value, causal_mask(11), 0.5)
    torch.testing.assert_close(out, expected)


def test_scaling_has_the_usual_default():
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 4, 1, 16), torch.randn(2, 2, 5, 16), torch.randn(2, 2, 5, 16)

    out, _ = attention(Layer(2), query, key, value, None)

    torch.testing.assert_close(out, plain_attention(query, key, value, None, 0.25))


@pytest.mark.parametrize("variant", ["softcap", "s_aux", "position_bias"])
def test_a_variant_that_is_not_served_is_refused(variant):
    states = torch.zeros(1, 1, 1, 4)

    with pytest.raises(ModelNotSupported, match=variant):
        attention(Layer(1), states, states, states, None, **{variant: 1.0})
