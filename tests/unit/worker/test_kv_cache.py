import random

import pytest
import torch

from services.worker.engine.kv_cache import KVCache
from services.worker.engine.prefix_index import Prefix
from services.worker.engine.sequence import SamplingParams, Sequence
from services.worker.engine.slots import Drop, Forget, Join, Keep, Slots
from tests.fakes.layouts import make_layout

pytestmark = pytest.mark.torch

LAYERS, HEADS, DIM, VALUE_DIM = 2, 3, 4, 5
CONTEXT = 300
LAYOUT = make_layout(LAYERS, HEADS, DIM, VALUE_DIM)


class Reference:
    """The cache driven as scheduler and model do, and what each sequence's row must hold."""

    def __init__(self, max_idle_tokens=0):
        self.cache = KVCache(LAYOUT, max_idle_tokens)
        self.slots = Slots(CONTEXT)
        self.rows = {}  # of sequences, [keys and values of each layer]
        self.kept = {}
        self._names = iter(range(10**6))

    def states(self, tokens):
        return [
            (torch.randn(tokens, HEADS, DIM), torch.randn(tokens, HEADS, VALUE_DIM))
            for _ in range(LAYERS)
        ]

    def stage(self, length, chunk=10**6, reuse=None):
        """Prefill a prompt in chunks; return its sequence, which has no place yet."""
        params = SamplingParams(max_tokens=9, seed=0)
        sequence = Sequence(str(next(self._names)), 0, (1,) * length, params)
        states, start = self.states(length), 0
        if reuse is not None:
            start = reuse.length
            for layer, known in zip(states, self.kept[reuse.key], strict=True):
                for new, old in zip(layer, known, strict=True):
                    new[:start] = old[:start]
        while start < length:
            end = min(length, start + chunk)
            room = length if end == length else self.slots.capacity(end)
            row = self.cache.stage(sequence.key, room, reuse)
            self.write(row, 0, start, [[part[start:end] for part in layer] for layer in states])
            start = end
        sequence.computed = length
        self.rows[sequence] = states
        return sequence

    def write(self, rows, row, start, states):
        for index, (keys, values) in enumerate(states):
            layer = rows.layers[index]
            layer.keys[row, :, start : start + len(keys)] = keys.transpose(0, 1)
            layer.values[row, :, start : start + len(keys)] = values.transpose(0, 1)

    def join(self, sequence, keep=None):
        place = self.slots.take(sequence, sequence.computed + 1)
        self.cache.apply([Join(sequence.key, place, sequence.computed, keep)])
        if keep is not None:
            self.kept[keep] = self.rows[sequence]

    def decode(self):
        """Give every row in a class another token; those that are full move first."""
        ops = []
        for sequence in list(self.rows):
            if self.slots.growth(sequence, sequence.computed + 1):
                ops += self.slots.grow(sequence, sequence.computed + 1, sequence.computed)
        self.cache.apply(ops)
        for sequence, states in self.rows.items():
            place = self.slots.place(sequence)
            new = self.states(1)
            rows = self.cache.size_class(place.capacity)
            self.write(rows, place.index, sequence.computed, new)
            sequence.computed += 1
            self.rows[sequence] = [
                tuple(map(torch.cat, zip(old, more, strict=True)))
                for old, more in zip(states, new, strict=True)
            ]

    def leave(self, sequence, keep=None):
        ops = []
        if keep is not None:
            ops.append(Keep(self.slots.place(sequence), keep, sequence.computed))
            self.kept[keep] = self.rows[sequence]
        self.cache.apply([*ops, *self.slots.leave(sequence)])
        del self.rows[sequence]

    def check(self):
        for sequence, states in self.rows.items():
            place = self.slots.place(sequence)
            rows = self.cache.size_class(place.capacity)
            for index, (keys, values) in enumerate(states):
                layer = rows.layers[index]
                for held, expected in ((layer.keys, keys), (layer.values, values)):
                    row = held[place.index]
                    assert torch.equal(row[:, : len(expected)].transpose(0, 1), expected)
                    assert row.isfinite().all()
        assert self.cache.running_tokens == self.slots.allocated_tokens


@pytest.mark.parametrize("idle", [0, 500])
@pytest.mark.parametrize("seed", range(4))
def test_rows_keep_what_was_written_while_others_come_and_go(seed, idle):
    torch.manual_seed(seed)
    chance = random.Random(seed)
    reference = Reference(idle)

    for step in range(80):
        rows, kind = list(reference.rows), chance.random()
        if len(rows) < 9 and (not rows or kind < 0.4):
            length, reuse = chance.choice([1, 5, 63, 64, 150, 200]), None
            if reference.kept and kind < 0.2:
                key, known = chance.choice(list(reference.kept.items()))
                most = min(len(known[0][0]), length - 1)
                reuse = Prefix(key, chance.randint(1, most)) if most else None
            keep = step if chance.random() < 0.3 else None
            reference.join(reference.stage(length, chance.choice([30, 999]), reuse), keep)
        elif kind < 0.6:
            reference.leave(chance.choice(rows), chance.choice([None, step]))
        else:
            for _ in range(chance.choice([1, 1, 30])):
                reference.decode()
                reference.rows = {
                    s: r for s, r in reference.rows.items() if not finish(s, reference)
                }
        if len(reference.kept) > 4:
            gone = chance.choice(list(reference.kept))
            del reference.kept[gone]
            reference.cache.apply([Forget(gone)])
        reference.check()
        assert reference.cache.idle_tokens <= idle
        kept = sum(len(states[0][0]) for states in reference.kept.values())
        assert reference.cache.kept_tokens == kept
    assert reference.slots.allocated_tokens > 0


def finish(sequence, reference):
    """Let a sequence leave that has no room for another token."""
    full = sequence.computed + 1 > CONTEXT
    if full:
        reference.cache.apply(reference.slots.leave(sequence))
    return full


def test_an_empty_cache_holds_no_memory():
    reference = Reference()
    for length in (200, 20, 30):
        reference.join(reference.stage(length))
    assert reference.cache.running_tokens == 256 + 2 * 64

    for sequence in list(reference.rows):
        reference.leave(sequence)

    assert (reference.cache.running_tokens, reference.cache.idle_tokens) == (0, 0)


def test_idle_rows_are_held_to_be_used_again():
    reference = Reference(max_idle_tokens=200)
    first, second, third = (reference.stage(20) for _ in range(3))
    for sequence in (first, second, third):
        reference.join(sequence)
    before = reference.cache.size_class(64).layers[0].keys.data_ptr()

    reference.leave(second)
    assert (reference.cache.running_tokens, reference.cache.idle_tokens) == (128, 64)
    reference.join(reference.stage(20))

    reference.check()
    assert reference.cache.idle_tokens == 0
    assert reference.cache.size_class(64).layers[0].keys.data_ptr() == before


def test_a_staged_prompt_counts_with_the_room_it_has():
    reference = Reference()
    sequence = Sequence("a", 0, (1,) * 100, SamplingParams(max_tokens=9, seed=0))
    for room in (64, 96, 100):
        reference.cache.stage(sequence.key, room, None)
        assert reference.cache.running_tokens == room


def test_what_is_kept_outlives_its_row_and_begins_another():
    reference = Reference()
    first = reference.stage(150)
    reference.join(first, keep=7)
    reference.decode()
    reference.leave(first, keep=8)
    assert reference.cache.running_tokens == 0
    assert reference.cache.kept_tokens == 150 + 151

    for key, length in ((7, 149), (8, 151), (7, 1)):
        reference.join(reference.stage(170, 40, Prefix(key, length)))
        reference.decode()
    reference.check()


def test_what_is_kept_does_not_change_with_who_reuses_it():
    reference = Reference()
    reference.join(reference.stage(80), keep=1)
    for _ in range(2):
        reference.join(reference.stage(90, reuse=Prefix(1, 50)))
        reference.decode()
    reference.check()


def test_a_prompt_dropped_half_way_can_be_kept():
    reference = Reference()
    sequence = reference.stage(70)
    reference.kept[3] = reference.rows.pop(sequence)

    reference.cache.apply([Drop(sequence.key, 70, 3)])

    assert (reference.cache.running_tokens, reference.cache.kept_tokens) == (0, 70)
    reference.join(reference.stage(80, reuse=Prefix(3, 69)))
    reference.check()


def test_a_prompt_that_failed_before_it_wrote_leaves_too():
    cache = KVCache(LAYOUT)
    cache.apply([Drop(("a", 0)), Drop(("a", 0), 5, 1)])
    assert (cache.running_tokens, cache.kept_tokens) == (0, 0)


def test_what_is_forgotten_is_gone():
    reference = Reference()
    reference.join(reference.stage(30), keep=7)

    reference.cache.apply([Forget(7), Forget(8)])

    assert reference.cache.kept_tokens == 0
    with pytest.raises(KeyError):
        reference.cache.stage(("b", 0), 40, Prefix(7, 20))


def test_a_reset_frees_everything():
    reference = Reference(max_idle_tokens=1000)
    reference.join(reference.stage(30), keep=7)
    reference.stage(20)
    reference.cache.reset()

    cache = reference.cache
    assert (cache.running_tokens, cache.idle_tokens, cache.kept_tokens) == (0, 0, 0)
    reference.rows, reference.slots = {}, Slots(CONTEXT)
    reference.join(reference.stage(40))
    reference.check()
