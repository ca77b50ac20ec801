"""The JSON schema of an eval's rows, in OpenAI's form: whether it is one, and whether a row fits.

Owns the keywords that are looked at: type, enum, required, properties, additionalProperties and
items. Others are left to their author.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

from services.evaluator.specs.findings import Findings, child

Schema = dict[str, Any]

_KINDS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (
        (isinstance(value, int) and not isinstance(value, bool))
        or (isinstance(value, float) and value.is_integer())
    ),
}


def check_schema(schema: object, findings: Findings, where: str) -> None:
    """Note what of a schema is none."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        findings.add(where, "should be a JSON schema")
        return
    known = cast("Schema", schema)
    if not all(isinstance(kind, str) and kind in _KINDS for kind in _types(known)):
        findings.add(child(where, "type"), f"should be of {', '.join(_KINDS)}")
    required = known.get("required", [])
    if not isinstance(required, list) or not all(
        isinstance(name, str) for name in cast("list[object]", required)
    ):
        findings.add(child(where, "required"), "should be a list of names")
    if not isinstance(known.get("enum", []), list):
        findings.add(child(where, "enum"), "should be a list")
    properties = known.get("properties", {})
    if not isinstance(properties, dict):
        findings.add(child(where, "properties"), "should be an object")
        properties = {}
    for name, inner in cast("Schema", properties).items():
        check_schema(inner, findings, child(where, "properties", name))
    if "items" in known:
        check_schema(known["items"], findings, child(where, "items"))


def misfits(value: object, schema: object, where: str) -> Iterator[tuple[str, str]]:
    """Yield pointer and text of what of a value does not fit a schema that is one."""
    if not isinstance(schema, dict):
        return
    known = cast("Schema", schema)
    types = _types(known)
    if types and not any(_KINDS[kind](value) for kind in types):
        yield where, f"should be {' or '.join(types)}: the item schema says so"
        return
    if "enum" in known and value not in known["enum"]:
        yield where, "is none of what the item schema lists"
    if isinstance(value, dict):
        yield from _misfits_inside(cast("Schema", value), known, where)
    elif isinstance(value, list) and "items" in known:
        for place, inner in enumerate(cast("list[object]", value)):
            yield from misfits(inner, known["items"], child(where, place))


def _misfits_inside(value: Schema, schema: Schema, where: str) -> Iterator[tuple[str, str]]:
    for name in schema.get("required", []):
        if name not in value:
            yield child(where, name), "is missing: the item schema requires it"
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for name, inner in value.items():
        if name in properties:
            yield from misfits(inner, properties[name], child(where, name))
        elif others is False:
            yield child(where, name), "is unknown to the item schema"
        else:
            yield from misfits(inner, others, child(where, name))


def _types(schema: Schema) -> list[Any]:
    kind = schema.get("type", [])
    return cast("list[Any]", kind) if isinstance(kind, list) else [kind]
