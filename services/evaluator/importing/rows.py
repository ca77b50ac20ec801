"""The rows of a data file, each with its place, so that a fault names file, line and field.

Owns JSONL and arrays of JSON objects. Knows no form of any project.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from shared.errors import MalformedFile

MAX_BYTES = 512 * 1024 * 1024

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Row:
    """One object of a file."""

    file: Path
    line: int
    """Where it begins, from 1."""
    fields: dict[str, Any]

    def fault(self, field: str, what: str) -> MalformedFile:
        """Return what is wrong with a field."""
        return MalformedFile(self.file, self.line, f"{field} {what}")

    def text(self, *names: str) -> str:
        """Return the first of these fields that is there. Raises MalformedFile."""
        found = self.optional_text(*names)
        if found is None:
            raise self.fault(" or ".join(names), "is missing")
        return found

    def optional_text(self, *names: str) -> str | None:
        """Return the first of these fields that is there and not null. Raises MalformedFile."""
        for name in names:
            value = self.fields.get(name)
            if isinstance(value, str):
                return value
            if value is not None:
                raise self.fault(name, "is no text")
        return None

    def identity(self, *names: str) -> str:
        """Return a text or a whole number as text. Raises MalformedFile."""
        for name in names:
            value = self.fields.get(name)
            if isinstance(value, str | int) and not isinstance(value, bool):
                return str(value)
            if value is not None:
                raise self.fault(name, "is neither text nor a whole number")
        raise self.fault(" or ".join(names), "is missing")

    def texts(self, name: str) -> list[str]:
        """Return a list of texts. Raises MalformedFile."""
        value = self.fields.get(name)
        if not isinstance(value, list):
            raise self.fault(name, "is missing" if value is None else "is no list")
        listed = cast("list[object]", value)
        if not all(isinstance(part, str) for part in listed):
            raise self.fault(name, "is no list of texts")
        return cast("list[str]", listed)

    def numbers(self, name: str) -> list[float]:
        """Return a list of finite numbers. Raises MalformedFile."""
        value = self.fields.get(name)
        listed = cast("list[object]", value) if isinstance(value, list) else [None]
        return [self._number(name, part) for part in listed]

    def number(self, name: str) -> float:
        """Return a finite number. Raises MalformedFile."""
        return self._number(name, self.fields.get(name))

    def optional_number(self, name: str) -> float | None:
        """Return a finite number, None for null and NaN. Raises MalformedFile."""
        value = self.fields.get(name)
        # NaN is how pandas writes that there is nothing.
        return None if value is None or value != value else self._number(name, value)  # noqa: PLR0124

    def inner(self, name: str) -> Row:
        """Return an object inside this one. Raises MalformedFile."""
        value = self.fields.get(name)
        if not isinstance(value, dict):
            raise self.fault(name, "is no object")
        return Row(self.file, self.line, cast("dict[str, Any]", value))

    def made(self, shape: type[T], **fields: object) -> T:
        """Return a wire type made of this row. Raises MalformedFile."""
        try:
            return shape.model_validate(fields)
        except ValidationError as fault:
            first = fault.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise self.fault(where, f"does not fit: {first['msg']}") from None

    def _number(self, name: str, value: object) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            number = float(value)
            if abs(number) < float("inf"):
                return number
        raise self.fault(name, "is missing" if value is None else "is no number")


def read_rows(path: Path) -> list[Row]:
    """Return the objects of a JSONL file, or of one JSON array.

    Raises:
        MalformedFile: it cannot be read, or holds something else; the message names the line.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise MalformedFile(path, None, f"is larger than {MAX_BYTES >> 20} MiB")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as fault:
        raise MalformedFile(path, None, fault.strerror or str(fault)) from None
    except UnicodeDecodeError as fault:
        raise MalformedFile(path, None, f"is not UTF-8 text (byte {fault.start})") from None
    values = _array(path, text) if text.lstrip().startswith("[") else _lines(path, text)
    rows = [Row(path, line, _object(path, line, value)) for line, value in values]
    if not rows:
        raise MalformedFile(path, None, "holds nothing")
    return rows


def _lines(path: Path, text: str) -> Iterator[tuple[int, object]]:
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            yield line, _parsed(path, line, content)


def _array(path: Path, text: str) -> Iterator[tuple[int, object]]:
    decoder = json.JSONDecoder()
    place, line = _skip(text, text.index("[") + 1), 1
    counted = 0
    while not text.startswith("]", place):
        line, counted = line + text.count("\n", counted, place), place
        try:
            value, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as fault:
            raise MalformedFile(path, fault.lineno, f"no JSON: {fault.msg}") from None
        except (RecursionError, ValueError):
            raise MalformedFile(path, line, "no JSON that can be read") from None
        yield line, value
        place = _skip(text, place)
        if text.startswith(",", place):
            place = _skip(text, place + 1)
        elif not text.startswith("]", place):
            at = line + text.count("\n", counted, place)
            raise MalformedFile(path, at, "no JSON: the array does not go on here")
    if text[place + 1 :].strip():
        at = line + text.count("\n", counted, place)
        raise MalformedFile(path, at, "something follows the array")


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\r\n":
        place += 1
    return place


def _parsed(path: Path, line: int, content: str) -> object:
    try:
        return cast("object", json.loads(content))
    except json.JSONDecodeError as fault:
        raise MalformedFile(path, line, f"no JSON: {fault.msg} (column {fault.colno})") from None
    except (RecursionError, ValueError):
        raise MalformedFile(path, line, "no JSON that can be read") from None


def _object(path: Path, line: int, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedFile(path, line, "is no JSON object")
    return cast("dict[str, Any]", value)
