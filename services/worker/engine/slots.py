"""Slots: which running sequence holds which row of the KV cache.

Rows come in size classes. The rows of one class lie side by side, at the indices 0..n-1 without a
gap, so that one batched product serves a class and nothing is gathered; a sequence that outgrows
its row moves to the next class. Owns this bookkeeping and the wire types that tell the KV cache of
it. Knows no tensor and no policy.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from services.worker.engine.sequence import Sequence, SequenceKey

# The least capacity, and how many classes lie between a capacity and its double. Two keep five
# sixths of a row in use on average; each class costs a step some calls per layer.
_LEAST = 64
_CLASSES_PER_DOUBLING = 2


@dataclass(frozen=True, slots=True)
class Place:
    """A row: its class, told by its capacity in tokens, and its index within the class."""

    capacity: int
    index: int


@dataclass(frozen=True, slots=True)
class Join:
    """The row that a prompt was prefilled in, of `tokens` tokens, is copied to `place`.

    Afterwards it is kept under the key `keep`, or gone if that is None.
    """

    source: SequenceKey
    place: Place
    tokens: int
    keep: int | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """The first `tokens` tokens of a row are copied to another place, which holds nothing."""

    source: Place
    target: Place
    tokens: int


@dataclass(frozen=True, slots=True)
class Trim:
    """Of a class only the first `rows` rows are still in use."""

    capacity: int
    rows: int


@dataclass(frozen=True, slots=True)
class Keep:
    """The first `tokens` tokens of a row are copied, to be reused under `key`."""

    source: Place
    key: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Drop:
    """The row that a prompt was prefilled in is needed no more, or kept under the key `keep`."""

    source: SequenceKey
    tokens: int = 0
    keep: int | None = None


@dataclass(frozen=True, slots=True)
class Forget:
    """What is kept under `key` can go."""

    key: int


RowOp = Join | Move | Trim | Keep | Drop | Forget


@dataclass(frozen=True, slots=True)
class Group:
    """The sequences of one class, in the order of their rows."""

    capacity: int
    sequences: tuple[Sequence, ...]


class Slots:
    """Rows that are handed out, by class; a capacity depends on the tokens it is for alone."""

    def __init__(self, max_model_len: int) -> None:
        """Hold nothing; no sequence will have more than `max_model_len` tokens."""
        self._capacities = tuple(_capacities(max_model_len))
        self._rows: dict[int, list[Sequence]] = {}
        self._places: dict[Sequence, Place] = {}
        self.allocated_tokens = 0

    def __len__(self) -> int:
        """Return the number of rows in use."""
        return len(self._places)

    def capacity(self, tokens: int) -> int:
        """Return the capacity of the smallest row for that many tokens."""
        return self._capacities[bisect_left(self._capacities, tokens)]

    def place(self, sequence: Sequence) -> Place:
        """Return where the sequence's row is."""
        return self._places[sequence]

    def groups(self) -> tuple[Group, ...]:
        """Return all rows, the smallest class first."""
        return tuple(Group(each, tuple(self._rows[each])) for each in sorted(self._rows))

    def take(self, sequence: Sequence, tokens: int) -> Place:
        """Give a sequence the next row of its class."""
        capacity = self.capacity(tokens)
        rows = self._rows.setdefault(capacity, [])
        place = self._places[sequence] = Place(capacity, len(rows))
        rows.append(sequence)
        self.allocated_tokens += capacity
        return place

    def growth(self, sequence: Sequence, tokens: int) -> int:
        """Return how many tokens more its row would have to hold; 0: it is large enough."""
        capacity = self._places[sequence].capacity
        return 0 if tokens <= capacity else self.capacity(tokens) - capacity

    def grow(self, sequence: Sequence, tokens: int, held: int) -> list[RowOp]:
        """Move a sequence that holds `held` tokens to a row for `tokens` tokens."""
        source = self._places[sequence]
        target = self.take(sequence, tokens)
        return [Move(source, target, held), *self._close(source)]

    def leave(self, sequence: Sequence) -> list[RowOp]:
        """Take a row back; the last one of its class moves into the gap."""
        return self._close(self._places.pop(sequence))

    def _close(self, hole: Place) -> list[RowOp]:
        rows = self._rows[hole.capacity]
        self.allocated_tokens -= hole.capacity
        last = rows.pop()
        ops: list[RowOp] = []
        if hole.index < len(rows):
            rows[hole.index] = last
            ops.append(Move(Place(hole.capacity, len(rows)), hole, last.computed))
            self._places[last] = hole
        if not rows:
            del self._rows[hole.capacity]
        return [*ops, Trim(hole.capacity, len(rows))]


def _capacities(longest: int) -> Iterator[int]:
    """Yield the capacities from the least to that of the longest sequence."""
    base = _LEAST
    while base < longest:
        for part in range(_CLASSES_PER_DOUBLING):
            capacity = base + base * part // _CLASSES_PER_DOUBLING
            if capacity < longest:
                yield capacity
        base *= 2
    yield longest
