import pytest
import torch

from services.worker.engine.rows import Rows

pytestmark = pytest.mark.torch

HEADS, DIM, VALUE_DIM = 3, 4, 5


def filled(rows, capacity, layers=2):
    """Return rows full of random numbers, and those numbers."""
    made = Rows(capacity, rows)
    held = []
    for index in range(layers):
        layer = made.layer(index, torch.empty(1, HEADS, DIM), torch.empty(1, HEADS, VALUE_DIM))
        for tensor in (layer.keys, layer.values):
            tensor.normal_()
        held.append((layer.keys.clone(), layer.values.clone()))
    return made, held


def test_a_layer_is_made_when_it_is_written_first_and_holds_zeros():
    rows = Rows(7, 2)
    assert rows.tokens == 14
    assert rows.layers == {}

    states = torch.zeros(9, HEADS, DIM, dtype=torch.bfloat16)
    layer = rows.layer(3, states, states.new_zeros(9, HEADS, VALUE_DIM))

    assert layer.keys.shape == (2, HEADS, 7, DIM)
    assert layer.values.shape == (2, HEADS, 7, VALUE_DIM)
    assert layer.keys.dtype == torch.bfloat16
    assert not layer.keys.any()
    assert not layer.values.any()
    assert rows.layer(3, states, states) is layer


@pytest.mark.parametrize(("wanted", "rows"), [(3, 16), (16, 16), (17, 18), (30, 30)])
def test_more_rows_leave_those_there_as_they_are(wanted, rows):
    made, held = filled(16, 6)

    made.fit(wanted)

    assert made.rows == rows
    for index, states in enumerate(held):
        layer = made.layers[index]
        for new, old in zip((layer.keys, layer.values), states, strict=True):
            assert new.shape[0] == rows
            assert torch.equal(new[:16], old)
            assert not new[16:].any()


def test_what_has_grown_gives_memory_back():
    made, held = filled(10, 6)

    made.trim(3)

    assert (made.rows, made.tokens) == (3, 18)
    for index, (keys, values) in enumerate(held):
        assert torch.equal(made.layers[index].keys, keys[:3])
        assert torch.equal(made.layers[index].values, values[:3])
        # A view of the old memory would keep it all.
        assert made.layers[index].keys.untyped_storage().nbytes() == keys[:3].nbytes


@pytest.mark.parametrize("capacity", [4, 6, 11])
def test_another_capacity_keeps_every_rows_beginning(capacity):
    made, held = filled(2, 6)

    made.extend(capacity)

    assert made.tokens == 2 * capacity
    for index, (keys, _) in enumerate(held):
        new = made.layers[index].keys
        assert new.shape[2] == capacity
        assert torch.equal(new[:, :, :6], keys[:, :, :capacity])
        assert not new[:, :, 6:].any()


def test_the_beginning_of_a_row_is_copied_and_nothing_else():
    source, held = filled(3, 9)
    target, before = filled(2, 6)

    target.copy(source, at=2, to=1, tokens=4)

    for index in range(2):
        layer = target.layers[index]
        for new, old, theirs in zip(
            (layer.keys, layer.values), before[index], held[index], strict=True
        ):
            assert torch.equal(new[0], old[0])
            assert torch.equal(new[1, :, :4], theirs[2, :, :4])
            assert torch.equal(new[1, :, 4:], old[1, :, 4:])


def test_a_copy_into_what_has_no_layers_yet_makes_them():
    source, held = filled(1, 9)
    target = Rows(5)

    target.copy(source, 0, 0, 5)

    for index, (keys, values) in enumerate(held):
        assert torch.equal(target.layers[index].keys, keys[:, :, :5])
        assert torch.equal(target.layers[index].values, values[:, :, :5])


def test_a_wiped_row_is_zero_and_its_neighbours_are_not():
    made, held = filled(3, 6)
    made.layers[1].values[1] = float("nan")

    made.wipe(1, 0)

    for index, (keys, values) in enumerate(held):
        for new, old in ((made.layers[index].keys, keys), (made.layers[index].values, values)):
            assert not new[1].any()
            assert torch.equal(new[[0, 2]], old[[0, 2]])


def test_a_row_is_wiped_from_a_token_on():
    made, held = filled(3, 6)

    made.wipe(1, 4)

    for index, (keys, _) in enumerate(held):
        assert torch.equal(made.layers[index].keys[:, :, :4], keys[:, :, :4])
        assert not made.layers[index].keys[1, :, 4:].any()
        assert torch.equal(made.layers[index].keys[2], keys[2])
