"""`{{item.a.b}}` and `{{sample.…}}` in OpenAI's bodies: what is named, and what stands there.

Values are put in once and never read again, so a row's text cannot name another one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import orjson

from services.evaluator.specs.findings import Findings

# No braces inside, so that a search takes linear time on any text.
_PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")
_STEP = re.compile(r"[^.\[\]]+|\[[0-9]{1,6}\]")
SAMPLE_FIELDS = frozenset({"output_text", "output_json"})
_MISSING = object()


def names_in(text: str) -> list[str]:
    """Return what a template names, such as `item.question`."""
    return [name.strip() for name in _PLACEHOLDER.findall(text)]


def speaks_of_sample(text: str) -> bool:
    """Return whether a template needs the candidate's answer."""
    return any(_STEP.findall(name)[:1] == ["sample"] for name in names_in(text))


def check_template(text: str, schema: Mapping[str, Any], findings: Findings, where: str) -> None:
    """Note each placeholder that is neither in the items' schema nor of a sample."""
    for name in dict.fromkeys(names_in(text)):
        root, *path = _STEP.findall(name) or [""]
        if root == "item" and path:
            if not _in_schema(path, schema):
                findings.add(where, "a placeholder names what the item schema does not have")
        elif root != "sample" or not path or path[0] not in SAMPLE_FIELDS:
            known = "'{{item.…}}' and '{{sample.output_text}}'"
            findings.add(where, f"a placeholder is unknown; known are {known}")


def render(text: str, item: Mapping[str, Any]) -> str | None:
    """Return the text with the item's values put in; None where it lacks one of them."""
    lacking = False

    def put(found: re.Match[str]) -> str:
        nonlocal lacking
        value = value_at(found.group(1).strip().removeprefix("item."), item)
        if value is _MISSING:
            lacking = True
            return ""
        return value if isinstance(value, str) else orjson.dumps(value).decode()

    rendered = _PLACEHOLDER.sub(put, text)
    return None if lacking else rendered


def value_at(path: str, item: Mapping[str, Any]) -> object:
    """Return what stands at a dotted path, `MISSING` where nothing does."""
    value: object = item
    for step in _STEP.findall(path):
        if step.startswith("[") and isinstance(value, list):
            items, place = cast("list[object]", value), int(step[1:-1])
            value = items[place] if place < len(items) else _MISSING
        elif isinstance(value, Mapping) and step in value:
            value = cast("Mapping[str, object]", value)[step]
        else:
            return _MISSING
    return value


MISSING = _MISSING


def _in_schema(path: list[str], schema: object) -> bool:
    """Return whether a JSON schema allows for a path; a schema that names nothing allows all."""
    for step in path:
        if not isinstance(schema, dict):
            return True
        known = cast("dict[str, Any]", schema)
        if step.startswith("["):
            schema = known.get("items")
            continue
        properties = known.get("properties")
        if not isinstance(properties, dict):
            return True
        if step not in properties:
            return bool(known.get("additionalProperties", False))
        schema = cast("dict[str, Any]", properties)[step]
    return True
