import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from services.worker.engine.rows import Rows
from tests.fakes.layouts import make_layout

pytestmark = pytest.mark.torch

LAYERS, HEADS, DIM, VALUE_DIM = 10, 3, 4, 5
LAYOUT = make_layout(LAYERS, HEADS, DIM, VALUE_DIM)


class Memory(TorchDispatchMode):
    """The bytes of all tensors made meanwhile, and the most that were there at once."""

    def __init__(self, limit=2**60):
        super().__init__()
        self.limit, self.peak = limit, 0
        self._made = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.zeros.default:
            storage = made.untyped_storage()
            self._made.append((StorageWeakRef(storage), storage.nbytes()))
        held = sum(size for storage, size in self._made if not storage.expired())
        self.peak = max(self.peak, held)
        if held > self.limit:
            raise MemoryError
        return made


def filled(rows, capacity):
    """Return rows full of random numbers, and those numbers."""
    made = Rows(LAYOUT, capacity, rows)
    for layer in made.layers:
        layer.keys.normal_()
        layer.values.normal_()
    return made, [(layer.keys.clone(), layer.values.clone()) for layer in made.layers]


def test_rows_are_made_of_zeros():
    rows = Rows(LAYOUT, 7, 2)

    assert rows.tokens == 14
    assert len(rows.layers) == LAYERS
    for layer in rows.layers:
        assert layer.keys.shape == (2, HEADS, 7, DIM)
        assert layer.values.shape == (2, HEADS, 7, VALUE_DIM)
        assert not layer.keys.any()
        assert not layer.values.any()


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


def test_an_eighth_of_the_rows_is_there_twice_while_they_grow():
    layout = make_layout(32, HEADS, DIM)
    with Memory() as memory:
        rows = Rows(layout, 6, 16)
        before = memory.peak
        rows.fit(18)

    assert before == 16 * 6 * layout.token_bytes
    assert memory.peak == pytest.approx(before * 9 / 8 * 9 / 8, rel=0.02)


@pytest.mark.parametrize("banks", range(10))
def test_rows_that_memory_did_not_suffice_for_can_grow_later(banks):
    made, held = filled(2, 6)
    sizes = [2 * 6 * len(bank.members) * bank.kind.token_bytes for bank in LAYOUT.banks]
    assert len(sizes) == 2 * 5

    with pytest.raises(MemoryError), Memory(limit=3 * sum(sizes[:banks])):
        made.extend(18)
    assert made.capacity == 6
    made.extend(18)

    for index, (keys, values) in enumerate(held):
        assert torch.equal(made.layers[index].keys[:, :, :6], keys)
        assert torch.equal(made.layers[index].values[:, :, :6], values)
        assert made.layers[index].keys.shape[2] == 18


def test_what_has_grown_gives_memory_back():
    made, held = filled(10, 6)

    made.trim(3)

    assert (made.rows, made.tokens) == (3, 18)
    for index, (keys, values) in enumerate(held):
        assert torch.equal(made.layers[index].keys, keys[:3])
        assert torch.equal(made.layers[index].values, values[:3])
    # Views of the old memory would keep it all.
    storages = {
        states.untyped_storage().data_ptr(): states.untyped_storage().nbytes()
        for layer in made.layers
        for states in (layer.keys, layer.values)
    }
    assert sum(storages.values()) == made.tokens * LAYOUT.token_bytes


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

    for index, layer in enumerate(target.layers):
        for new, old, theirs in zip(
            (layer.keys, layer.values), before[index], held[index], strict=True
        ):
            assert torch.equal(new[0], old[0])
            assert torch.equal(new[1, :, :4], theirs[2, :, :4])
            assert torch.equal(new[1, :, 4:], old[1, :, 4:])


def test_a_row_is_copied_to_its_neighbour():
    rows, held = filled(3, 6)

    rows.copy(rows, at=2, to=0, tokens=5)

    for index, (keys, _) in enumerate(held):
        new = rows.layers[index].keys
        assert torch.equal(new[0, :, :5], keys[2, :, :5])
        assert torch.equal(new[0, :, 5:], keys[0, :, 5:])
        assert torch.equal(new[1:], keys[1:])


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
