"""Rows of a KV cache without tensors: token ids stand for their keys and values.

Does what the scheduler's operations say, in their order, and refuses what a real cache would do
wrongly without a word.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.worker.engine.prefix_index import Prefix
from services.worker.engine.sequence import SequenceKey
from services.worker.engine.slots import Drop, Forget, Join, Keep, Move, Place, RowOp, Trim


class Row(list[int]):
    """Tokens, of which the last `drafted` came in the last step as a draft.

    A sequence that ends in the middle of them leaves the others in its row, and nothing else may
    lie beyond what it says that it holds.
    """

    drafted = 0

    def begun(self, tokens: int) -> Row:
        """Return a copy of its beginning, of so many tokens."""
        assert len(self) - self.drafted <= tokens <= len(self), "what a row holds is copied"
        return Row(self[:tokens])


class FakeRows:
    """Rows by class and index, by sequence, and by key."""

    def __init__(self) -> None:
        # None: its sequence has moved away, and nothing has come in its place yet.
        self.classes: dict[int, list[Row | None]] = {}
        self.staged: dict[SequenceKey, Row] = {}
        self.rooms: dict[SequenceKey, int] = {}
        self.kept: dict[int, Row] = {}
        # Whose first chunk failed before there was a row.
        self.unwritten: set[SequenceKey] = set()

    @property
    def running_tokens(self) -> int:
        """Tokens that the running sequences' rows have room for."""
        classes = sum(capacity * len(rows) for capacity, rows in self.classes.items())
        return classes + sum(self.rooms.values())

    def all(self) -> list[Row]:
        """Return every running sequence's row, the smallest class first, staged ones last."""
        by_class = (
            self.row(capacity, i)
            for capacity in sorted(self.classes)
            for i in range(len(self.classes[capacity]))
        )
        return [*by_class, *self.staged.values()]

    def row(self, capacity: int, index: int) -> Row:
        row = self.classes[capacity][index]
        assert row is not None, "a class has no gaps"
        return row

    def stage(self, source: SequenceKey, room: int, reuse: Prefix | None) -> Row:
        """Return the row of a prompt, with room for so many tokens; a first one may reuse."""
        if reuse is not None:
            assert source not in self.staged, "only a prompt's first chunk reuses"
            assert reuse.key in self.kept, "what is reused is kept"
            kept = self.kept[reuse.key]
            assert 0 < reuse.length <= len(kept), "no more is reused than is kept"
            self.staged[source] = Row(kept[: reuse.length])
        self.rooms[source] = room
        return self.staged.setdefault(source, Row())

    def apply(self, ops: Iterable[RowOp]) -> None:
        for op in ops:
            match op:
                case Join(source, place, tokens, keep):
                    self._put(place, self._unstage(source, tokens, keep), tokens)
                case Move(source, target, tokens):
                    row = self.row(source.capacity, source.index)
                    self._put(target, row, tokens, replaces=source.capacity == target.capacity)
                    self.classes[source.capacity][source.index] = None
                case Trim(capacity, rows):
                    self._trim(capacity, rows)
                case Keep(source, key, tokens):
                    row = self.row(source.capacity, source.index)
                    self._keep(key, row.begun(tokens))
                case Drop(source, tokens, keep):
                    if source in self.unwritten:
                        self.unwritten.remove(source)
                        assert keep is None
                    else:
                        self._unstage(source, tokens, keep)
                case Forget(key):
                    del self.kept[key]
        for capacity, rows in self.classes.items():
            assert rows, "a class without rows is gone"
            assert None not in rows, f"the class {capacity} has a gap"

    def reset(self) -> None:
        self.classes.clear()
        self.staged.clear()
        self.rooms.clear()
        self.kept.clear()
        self.unwritten.clear()

    def _put(self, place: Place, row: Row, tokens: int, *, replaces: bool = False) -> None:
        assert tokens <= place.capacity, "a row fits its place"
        rows = self.classes.setdefault(place.capacity, [])
        if replaces:
            # The last row of a class, into the place of one that has left.
            assert place.index < len(rows) - 1
            rows[place.index] = row.begun(tokens)
        else:
            assert place.index == len(rows), "a new row is its class's next"
            rows.append(row.begun(tokens))

    def _unstage(self, source: SequenceKey, tokens: int, keep: int | None) -> Row:
        row = self.staged.pop(source)
        del self.rooms[source]
        if keep is not None:
            assert tokens == len(row)
            self._keep(keep, row)
        return row

    def _keep(self, key: int, row: Row) -> None:
        assert key not in self.kept, "a key is given once"
        self.kept[key] = Row(row)

    def _trim(self, capacity: int, rows: int) -> None:
        assert rows == len(self.classes[capacity]) - 1, "one row leaves at a time"
        self.classes[capacity].pop()
        if not rows:
            del self.classes[capacity]
