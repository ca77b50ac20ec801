"""A request body: bytes to a JSON object, with an error that names the fault.

Owns the rules of JSON itself. What the object must contain is in `shared.protocol.openai`.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn, cast

import orjson

from shared.errors import InvalidRequest

MAX_DEPTH = 64
"""Levels of nesting; a deeper body is nobody's honest request."""


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object that `raw` is.

    Raises:
        InvalidRequest: no JSON, invalid UTF-8, NaN or Infinity (the parameter is named), no
            object, or nested deeper than `MAX_DEPTH`.
    """
    try:
        parsed: object = orjson.loads(raw)
    except orjson.JSONDecodeError as fault:
        _explain(raw, fault)
    if not isinstance(parsed, dict):
        msg = "The request body must be a JSON object."
        raise InvalidRequest(msg, code="invalid_json")
    body = cast("dict[str, Any]", parsed)
    # Fewer brackets than levels are not nested too deep, and nearly all bodies have so few.
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return body
    for name, value in body.items():
        if _depth(value, MAX_DEPTH) > MAX_DEPTH:
            msg = f"'{name}' is nested deeper than {MAX_DEPTH} levels."
            raise InvalidRequest(msg, param=name)
    return body


def _explain(raw: bytes, fault: orjson.JSONDecodeError) -> NoReturn:
    """Raise the error that says why `raw` is no JSON."""
    try:
        raw.decode()
    except UnicodeDecodeError as broken:
        msg = f"The request body is not valid UTF-8 (byte {broken.start})."
        raise InvalidRequest(msg, code="invalid_json") from None
    for name, token in _constants(raw):
        msg = f"'{name}' is {token}, which is not a JSON number."
        raise InvalidRequest(msg, param=name, code="invalid_json") from None
    msg = f"The request body is not valid JSON: {fault}"
    raise InvalidRequest(msg, code="invalid_json") from None


def _constants(raw: bytes) -> list[tuple[str, str]]:
    """Name the top-level parameters that hold the non-JSON constants some clients send."""

    class Constant(str):
        __slots__ = ()

    try:
        body: object = json.loads(raw, parse_constant=Constant)
    except (ValueError, RecursionError):
        return []
    if not isinstance(body, dict):
        return []
    found: list[tuple[str, str]] = []
    for name, value in cast("dict[str, object]", body).items():
        values = cast("list[object]", value) if isinstance(value, list) else [value]
        if isinstance(value, dict):
            values = list(cast("dict[str, object]", value).values())
        found += [(name, str(item)) for item in values if isinstance(item, Constant)]
    return found


def _depth(value: object, limit: int) -> int:
    """Return how deep `value` is nested, looking no deeper than `limit` + 1 levels."""
    depth, layer = 0, [value]
    while layer and depth <= limit:
        deeper: list[object] = []
        for item in layer:
            if isinstance(item, dict):
                deeper.extend(cast("dict[str, object]", item).values())
            elif isinstance(item, list):
                deeper.extend(cast("list[object]", item))
        depth, layer = depth + 1, deeper
    return depth
