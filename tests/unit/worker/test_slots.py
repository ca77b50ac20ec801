"""Rows in classes: no gaps, and no larger than they must be."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.worker.engine.sequence import SamplingParams, Sequence
from services.worker.engine.slots import Group, Join, Move, Place, Slots, Trim
from tests.fakes.rows import FakeRows

PARAMS = SamplingParams(max_tokens=10, seed=0)


def sequence(tokens=4, name="r"):
    return Sequence(name, 0, (1,) * tokens, PARAMS, computed=tokens)


@pytest.fixture
def slots():
    return Slots(1000)


@pytest.mark.parametrize(
    ("tokens", "capacity"),
    [(1, 64), (64, 64), (65, 96), (97, 128), (129, 192), (400, 512), (513, 768), (769, 1000)],
)
def test_a_capacity_is_the_least_that_suffices(slots, tokens, capacity):
    assert slots.capacity(tokens) == capacity


@pytest.mark.parametrize("longest", [2, 63, 64, 65, 96, 100, 128, 4096])
def test_the_longest_sequence_fits_exactly(longest):
    slots = Slots(longest)

    assert slots.capacity(longest) == longest
    assert all(slots.capacity(tokens) >= tokens for tokens in range(1, longest + 1))


def test_a_full_row_is_two_thirds_of_the_next_at_least():
    slots = Slots(10**6)

    for tokens in (64, 96, 128, 192, 256, 384, 6144):
        assert slots.capacity(tokens + 1) <= tokens * 3 // 2


def test_sequences_of_alike_length_lie_side_by_side(slots):
    rows = [sequence(10), sequence(100), sequence(20), sequence(110)]

    assert [slots.take(each, each.length) for each in rows] == [
        Place(64, 0),
        Place(128, 0),
        Place(64, 1),
        Place(128, 1),
    ]
    assert slots.groups() == (Group(64, (rows[0], rows[2])), Group(128, (rows[1], rows[3])))
    assert (len(slots), slots.allocated_tokens) == (4, 2 * 64 + 2 * 128)


def test_the_last_row_of_a_class_fills_the_gap(slots):
    rows = [sequence(10 + i) for i in range(3)]
    for each in rows:
        slots.take(each, each.length)

    assert slots.leave(rows[0]) == [Move(Place(64, 2), Place(64, 0), 12), Trim(64, 2)]
    assert slots.groups() == (Group(64, (rows[2], rows[1])),)
    assert slots.place(rows[2]) == Place(64, 0)
    assert slots.leave(rows[1]) == [Trim(64, 1)]
    assert slots.leave(rows[2]) == [Trim(64, 0)]
    assert (slots.groups(), len(slots), slots.allocated_tokens) == ((), 0, 0)


def test_a_full_row_grows_into_the_next_class(slots):
    full, other = sequence(64), sequence(3)
    for each in (full, other):
        slots.take(each, each.length)

    assert slots.growth(full, 64) == 0
    assert slots.growth(full, 65) == 32
    assert slots.grow(full, 65, held=64) == [
        Move(Place(64, 0), Place(96, 0), 64),
        Move(Place(64, 1), Place(64, 0), 3),
        Trim(64, 1),
    ]
    assert slots.groups() == (Group(64, (other,)), Group(96, (full,)))
    assert (len(slots), slots.allocated_tokens) == (2, 64 + 96)


class AnyMoves(RuleBasedStateMachine):
    """Rows that do what the slots say hold what their sequences do."""

    def __init__(self):
        super().__init__()
        self.slots, self.rows = Slots(300), FakeRows()
        self.sequences = []
        self.number = 0

    @rule(tokens=st.integers(1, 299))
    def take(self, tokens):
        self.number += 1
        new = Sequence(str(self.number), 0, (self.number,) * 300, PARAMS, computed=tokens)
        self.rows.stage(new.key, tokens, None).extend(new.prompt_ids[:tokens])
        place = self.slots.take(new, tokens + 1)
        self.rows.apply([Join(new.key, place, tokens)])
        self.sequences.append(new)

    @precondition(lambda self: self.sequences)
    @rule(pick=st.integers(0))
    def leave(self, pick):
        gone = self.sequences.pop(pick % len(self.sequences))
        self.rows.apply(self.slots.leave(gone))

    @precondition(lambda self: self.sequences)
    @rule(pick=st.integers(0), tokens=st.integers(1, 100))
    def grow(self, pick, tokens):
        longer = self.sequences[pick % len(self.sequences)]
        length = min(300, longer.computed + tokens)
        growth, before = self.slots.growth(longer, length), self.slots.allocated_tokens
        if growth:
            self.rows.apply(self.slots.grow(longer, length, longer.computed))
        assert self.slots.allocated_tokens == before + growth
        place = self.slots.place(longer)
        row = self.rows.row(place.capacity, place.index)
        row += longer.prompt_ids[longer.computed : length]
        longer.computed = length

    @invariant()
    def rows_are_the_sequences(self):
        groups = self.slots.groups()
        assert [group.capacity for group in groups] == sorted(self.rows.classes)
        for group in groups:
            for index, each in enumerate(group.sequences):
                assert self.slots.place(each) == Place(group.capacity, index)
                held = each.prompt_ids[: each.computed]
                assert tuple(self.rows.row(group.capacity, index)) == held
        assert self.slots.allocated_tokens == self.rows.running_tokens
        assert len(self.slots) == len(self.sequences)


TestAnyMoves = AnyMoves.TestCase
TestAnyMoves.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
