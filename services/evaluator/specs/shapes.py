"""JSON values against the wire types: each misfit becomes a fault at its JSON pointer.

Owns the texts of these faults and the other names that a field may have in a request. What
several fields must have in common is checked elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

import orjson
from pydantic import BaseModel, ValidationError

from services.evaluator.specs.findings import Findings, child

_TEXTS = {
    "missing": "is missing",
    "extra_forbidden": "is unknown",
    "string_too_short": "is empty",
    "model_type": "should be an object",
    "model_attributes_type": "should be an object",
    "dict_type": "should be an object",
}
_BLANK = r"\S"

Shape = TypeVar("Shape", bound=BaseModel)
Object = dict[str, Any]


@dataclass(frozen=True)
class Fields:
    """An object of a request with its fields under the wire type's names."""

    where: str
    values: Object
    written: Mapping[str, str] = field(default_factory=dict[str, str])
    """Under which name a field was written, where that is another one."""
    wrapped: frozenset[str] = frozenset()
    """Fields that were one value and are a list now."""
    bare: bool = False
    """Whether one value stands for the whole object."""

    def pointer(self, *parts: int | str) -> str:
        """Return the JSON pointer of a place, as the client wrote it."""
        if not parts or self.bare:
            return self.where
        name, *below = parts
        if name in self.wrapped:
            below = below[1:]
        return child(self.where, self.written.get(str(name), name), *below)

    def without(self, *names: str) -> Fields:
        """Return the same without some fields."""
        left_out = set(names)
        values = {name: value for name, value in self.values.items() if name not in left_out}
        return replace(self, values=values)


def as_object(value: object, findings: Findings, where: str) -> Object | None:
    """Return `value` if it is a JSON object, else None with a fault."""
    if isinstance(value, dict):
        return cast("Object", value)
    findings.add(where, "should be an object")
    return None


def as_list(
    value: object, findings: Findings, where: str, most: int, *, least: int = 0
) -> list[Any]:
    """Return `value` if it is a list of so many, else an empty one with a fault."""
    if not isinstance(value, list):
        findings.add(where, "should be a list")
        return []
    found = cast("list[Any]", value)
    if len(found) < least:
        findings.add(where, "is empty")
    if len(found) > most:
        findings.add(where, f"has {len(found)} entries; {most} are the most")
        return []
    return found


def renamed(
    value: Object,
    findings: Findings,
    where: str,
    names: Mapping[str, str],
    wrapping: frozenset[str] = frozenset(),
) -> Fields:
    """Return the fields of an object under the wire type's names.

    Args:
        value: the object.
        findings: gets a fault for each field that is written twice.
        where: its pointer.
        names: the wire type's name of each other name.
        wrapping: the other names whose value is one entry of a list.
    """
    values: Object = {}
    written: dict[str, str] = {}
    wrapped: set[str] = set()
    for name, content in value.items():
        own = names.get(name, name)
        if own in values:
            other = written.get(own, own)
            findings.add(child(where, name), f"says the same as '{other}'; give one of them")
            continue
        values[own] = [content] if name in wrapping else content
        if name != own:
            written[own] = name
        if name in wrapping:
            wrapped.add(own)
    return Fields(where, values, written, frozenset(wrapped))


def without_nulls(body: Object) -> Object:
    """Return a body without the fields that are null: they say nothing."""
    return {name: value for name, value in body.items() if value is not None}


def validated(shape: type[Shape], fields: Fields, findings: Findings) -> Shape | None:
    """Return `fields` as `shape`, or None with a fault for each misfit."""
    fields = _of_shape(shape, fields, findings)
    try:
        # As JSON: what is strict there and what not is what a client of HTTP expects.
        return shape.model_validate_json(orjson.dumps(fields.values))
    except ValidationError as fault:
        _note(fault, fields, findings)
        return None


def fitting(shape: type[Shape], fields: Fields, findings: Findings) -> Shape:
    """Return `shape` of those fields that fit, with a fault for each of the others.

    So that what depends on good fields is checked beside the bad ones. `shape` needs no field that
    `fields` has not.
    """
    fields = _of_shape(shape, fields, findings)
    try:
        return shape.model_validate_json(orjson.dumps(fields.values))
    except ValidationError as fault:
        bad = _note(fault, fields, findings)
        return shape.model_validate_json(orjson.dumps(fields.without(*bad).values))


def _of_shape(shape: type[BaseModel], fields: Fields, findings: Findings) -> Fields:
    """Return the fields without unknown ones; each is a fault."""
    unknown = [name for name in fields.values if name not in shape.model_fields]
    for name in unknown:
        findings.add(fields.pointer(name), _TEXTS["extra_forbidden"])
    return fields.without(*unknown) if unknown else fields


def _note(fault: ValidationError, fields: Fields, findings: Findings) -> set[str]:
    """Note what is wrong at each place; return the names of the fields at fault."""
    told: dict[str, list[Object]] = {}
    errors = fault.errors(include_url=False, include_input=False)
    for error in errors:
        location = _within(error["loc"], fields.values)
        told.setdefault(fields.pointer(*location), []).append(cast("Object", error))
    for pointer, found in told.items():
        # A union reports each of its branches at one place; that of the value's own type matters.
        meant = [error for error in found if not error["type"].endswith("_type")] or found
        findings.add(pointer, _text(meant[0]))
    return {str(error["loc"][0]) for error in errors if error["loc"]}


def _within(location: tuple[int | str, ...], value: object) -> list[int | str]:
    """Return a location without the tags that pydantic adds for the branches of a union."""
    found: list[int | str] = []
    for place, part in enumerate(location):
        last = place == len(location) - 1
        if isinstance(value, dict) and isinstance(part, str):
            inside = cast("Object", value)
            if part in inside or last:
                found.append(part)
                value = inside.get(part)
        elif isinstance(value, list) and isinstance(part, int):
            found.append(part)
            items = cast("list[object]", value)
            value = items[part] if part < len(items) else None
    return found


def _text(error: Object) -> str:
    """Return what one of pydantic's errors says, without anything of the input."""
    kind: str = error["type"]
    if kind == "string_pattern_mismatch":
        if error["ctx"]["pattern"] == _BLANK:
            return "is blank"
        return "should be letters, digits, '.', '_' and '-', at most 64, a letter or digit first"
    message: str = error["msg"]
    return _TEXTS.get(kind, message[:1].lower() + message[1:])
