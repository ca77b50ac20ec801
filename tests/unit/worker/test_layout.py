"""Layers whose keys and values differ, in tensors that hold many of them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from services.worker.engine.layout import Kind, Layout
from tests.fakes.layouts import make_layout

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
kinds = st.builds(
    Kind,
    st.sampled_from([1, 3]),
    st.sampled_from([4, 5]),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.just(CPU),
)


@given(st.lists(st.tuples(kinds, kinds), max_size=40), st.integers(1, 3), st.integers(1, 5))
def test_every_layer_has_tensors_of_its_own_kinds_and_nobody_elses(layers, rows, capacity):
    layout = Layout(layers)

    tensors = [bank.zeros(rows, capacity) for bank in layout.banks]
    made = layout.layers(tensors)

    assert len(made) == len(layers)
    parts = [part for layer in made for part in (layer.keys, layer.values)]
    for part, kind in zip(parts, (kind for layer in layers for kind in layer), strict=True):
        assert part.shape == (rows, kind.kv_heads, capacity, kind.dim)
        assert (part.dtype, part.device) == (kind.dtype, kind.device)
        # So are they written.
        assert part.is_contiguous()
        part.add_(1)
    # Each number once.
    assert all((tensor == 1).all() for tensor in tensors)
    assert sum(tensor.nbytes for tensor in tensors) == rows * capacity * layout.token_bytes


@pytest.mark.parametrize(("layers", "sizes"), [(1, [1, 1]), (4, [1] * 8), (30, [8] * 7 + [4])])
def test_those_of_a_kind_lie_together_in_eight_banks_at_most(layers, sizes):
    assert [len(bank.members) for bank in make_layout(layers, 3, 64).banks] == sizes


def test_what_is_not_alike_lies_apart():
    layout = make_layout(32, 3, 64, value_dim=32)

    assert len(layout.banks) == 16
    assert all(len({member % 2 for member in bank.members}) == 1 for bank in layout.banks)


def test_a_kind_is_told_by_the_last_two_dimensions():
    states = torch.empty(9, 3, 4, dtype=torch.bfloat16)

    assert Kind.of(states) == Kind.of(states[None, :0]) == Kind(3, 4, torch.bfloat16, CPU)
