"""The KV cache: the rows of all size classes, of prompts on their way, and what is kept.

Owns all tensors of keys and values, and does to them what the scheduler's operations say. Knows
no sequence and no policy.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.worker.engine.layout import Layout
from services.worker.engine.prefix_index import Prefix
from services.worker.engine.rows import Rows
from services.worker.engine.sequence import SequenceKey
from services.worker.engine.slots import Drop, Forget, Join, Keep, Move, Place, RowOp, Trim


class KVCache:
    """Rows by class, by sequence and by key."""

    def __init__(self, layout: Layout, max_idle_tokens: int = 0) -> None:
        """Hold nothing; rows that nobody uses are held up to `max_idle_tokens` together."""
        self._layout = layout
        self._max_idle_tokens = max_idle_tokens
        self._classes: dict[int, Rows] = {}
        self._used: dict[int, int] = {}  # rows of each class
        self._staged: dict[SequenceKey, Rows] = {}
        self._kept: dict[int, Rows] = {}

    @property
    def running_tokens(self) -> int:
        """Tokens that the rows of running sequences have room for."""
        used = sum(rows * capacity for capacity, rows in self._used.items())
        return used + sum(rows.tokens for rows in self._staged.values())

    @property
    def idle_tokens(self) -> int:
        """Tokens that rows have room for which nobody uses."""
        return sum(map(self._idle, self._classes))

    @property
    def kept_tokens(self) -> int:
        """Tokens that kept prefixes have."""
        return sum(rows.tokens for rows in self._kept.values())

    def size_class(self, capacity: int) -> Rows:
        """Return the rows of a class."""
        return self._classes[capacity]

    def stage(self, source: SequenceKey, room: int, reuse: Prefix | None) -> Rows:
        """Return the row of a prompt, with room for so many tokens; a first one may reuse."""
        rows = self._staged.get(source)
        if rows is None:
            rows = self._staged[source] = Rows(self._layout, room)
            if reuse is not None:
                rows.copy(self._kept[reuse.key], 0, 0, reuse.length)
        rows.extend(room)
        return rows

    def apply(self, ops: Iterable[RowOp]) -> None:
        """Do what the operations say, in their order."""
        ops = tuple(ops)
        self._make_room(ops)
        for op in ops:
            match op:
                case Join(source, place, tokens, keep):
                    self._copy(self._staged[source], 0, place, tokens)
                    self._drop(source, tokens, keep)
                case Move(source, target, tokens):
                    self._copy(self._classes[source.capacity], source.index, target, tokens)
                case Trim(capacity, rows):
                    self._used[capacity] = rows
                case Keep(source, key, tokens):
                    kept = self._kept[key] = Rows(self._layout, tokens)
                    kept.copy(self._classes[source.capacity], source.index, 0, tokens)
                case Drop(source, tokens, keep):
                    self._drop(source, tokens, keep)
                case Forget(key):
                    self._kept.pop(key, None)
        self._give_back()

    def reset(self) -> None:
        """Free everything."""
        self._classes.clear()
        self._used.clear()
        self._staged.clear()
        self._kept.clear()

    def _make_room(self, ops: tuple[RowOp, ...]) -> None:
        """Have all rows that will be filled, so that a class is laid out anew only once."""
        needed: dict[int, int] = {}
        for op in ops:
            if isinstance(op, Join | Move):
                place = op.place if isinstance(op, Join) else op.target
                needed[place.capacity] = max(needed.get(place.capacity, 0), place.index + 1)
        for capacity, rows in needed.items():
            if capacity in self._classes:
                self._classes[capacity].fit(rows)
            else:
                self._classes[capacity] = Rows(self._layout, capacity, rows)

    def _copy(self, source: Rows, at: int, to: Place, tokens: int) -> None:
        self._classes[to.capacity].copy(source, at, to.index, tokens)
        self._used[to.capacity] = max(self._used.get(to.capacity, 0), to.index + 1)

    def _drop(self, source: SequenceKey, tokens: int, keep: int | None) -> None:
        # None: its first chunk did not come to writing anything.
        rows = self._staged.pop(source, None)
        if rows is not None and keep is not None:
            rows.extend(tokens)
            self._kept[keep] = rows

    def _give_back(self) -> None:
        """Free idle rows that are too many, where the most are.

        Some are held, since rows that come and go would cost more than the work on them: fresh
        memory has to be mapped page by page.
        """
        while self.idle_tokens > self._max_idle_tokens:
            capacity = max(self._classes, key=self._idle)
            if self._used.get(capacity):
                self._classes[capacity].trim(self._used[capacity])
            else:
                del self._classes[capacity]

    def _idle(self, capacity: int) -> int:
        return self._classes[capacity].tokens - capacity * self._used.get(capacity, 0)
