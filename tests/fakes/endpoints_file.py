"""Writing endpoints files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson


def write_endpoints(folder: Path, *endpoints: dict[str, Any]) -> Path:
    """Write a file with these endpoints, without the fields that are None."""
    path = folder / "endpoints.toml"
    tables = ["[[endpoints]]\n" + _fields(fields) for fields in endpoints]
    path.write_text("\n".join(tables))
    return path


def _fields(fields: dict[str, Any]) -> str:
    given = {name: value for name, value in fields.items() if value is not None}
    return "".join(f"{name} = {_value(value)}\n" for name, value in given.items())


def _value(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{name} = {_value(each)}" for name, each in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_value, value)) + "]"
        case _:
            return orjson.dumps(value).decode()
