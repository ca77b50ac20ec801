"""Rows of a spec as the JSON that they are stored as, each read when it is looked at.

Owns their form: one row a line. Ten thousand questions as objects take some ten times the bytes of
their text, and a run holds its rows for as long as it lasts. Knows no row's meaning.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, cast, overload

import orjson
from pydantic import BaseModel

Row = TypeVar("Row", bound=BaseModel)


class SealedRows(Sequence[Row], Generic[Row]):
    """Rows of one shape; all of them were valid when they were sealed."""

    __slots__ = ("_ends", "_last", "_shape", "text")

    def __init__(self, text: bytes, shape: type[Row]) -> None:
        """Take lines of JSON, each with its end. Raises ValueError if the last has none."""
        if text and not text.endswith(b"\n"):
            msg = "these are no lines"
            raise ValueError(msg)
        self.text = text
        self._shape = shape
        self._ends = array("Q", _ends(text))
        self._last: tuple[int, Row] | None = None

    @property
    def as_list(self) -> bytes:
        """Return all rows as a list of JSON: within a row no line ends."""
        return b"[" + self.text[:-1].replace(b"\n", b",") + b"]"

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        """Read one row, or some."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        last = self._last
        if last is not None and last[0] == place:
            return last[1]
        row = self._shape.model_validate_json(self._line(place))
        # Whatever asks for a row mostly asks for it again at once.
        self._last = place, row
        return row

    def plain(self, place: int) -> dict[str, Any]:
        """Return one row as plain values, which takes a quarter of the time."""
        return orjson.loads(self._line(place))

    def __eq__(self, other: object) -> bool:
        """Compare with any sequence of rows."""
        if isinstance(other, SealedRows):
            return self.text == other.text
        return list(self) == other if isinstance(other, list) else NotImplemented

    __hash__ = None  # pyright: ignore[reportAssignmentType] - as a list

    def _line(self, place: int) -> bytes:
        start = self._ends[place - 1] if place else 0
        return self.text[start : self._ends[place]]


class Sealing(Generic[Row]):
    """Rows that are sealed one by one as they come, so that there is never an object of each."""

    def __init__(self, shape: type[Row]) -> None:
        """Begin with none."""
        self._shape = shape
        self._text = bytearray()

    def add(self, row: Row | dict[str, Any]) -> None:
        """Seal one more, valid as it is."""
        self._text += json_text(row)
        self._text += b"\n"

    def rows(self) -> SealedRows[Row]:
        """Return what was added."""
        return SealedRows(bytes(self._text), self._shape)


def sealed(rows: Iterable[Row | dict[str, Any]], shape: type[Row]) -> SealedRows[Row]:
    """Return rows sealed, those that are sealed as they are."""
    if isinstance(rows, SealedRows):
        return cast("SealedRows[Row]", rows)
    sealing = Sealing(shape)
    for row in rows:
        sealing.add(row)
    return sealing.rows()


def json_text(content: Any) -> bytes:
    """Return what may hold models and sealed rows as JSON, with no copy of it as plain values."""
    return orjson.dumps(content, _plain)


def _plain(value: object) -> object:
    if isinstance(value, SealedRows):
        return orjson.Fragment(value.as_list)
    if isinstance(value, BaseModel):
        return dict(value)
    raise TypeError


def _ends(text: bytes) -> Iterator[int]:
    end = text.find(b"\n") + 1
    while end:
        yield end
        end = text.find(b"\n", end) + 1
