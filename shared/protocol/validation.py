"""Strict shapes of request bodies, and the error that names the first field at fault.

Owns how pydantic's findings become one of our errors. Knows no request.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import InvalidRequest


class Strict(BaseModel):
    """Takes no other type for the one that is meant, and no field that it does not know."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


def as_invalid_request(fault: ValidationError) -> InvalidRequest:
    """Return the error of the first field that is missing, mistyped, unknown or out of range."""
    errors = fault.errors(include_url=False, include_context=False)
    top = errors[0]["loc"][:1]
    # A union reports each of its branches; the one whose types fitted furthest was meant.
    first = max(
        (error for error in errors if error["loc"][:1] == top),
        key=lambda error: (not error["type"].endswith("_type"), len(error["loc"])),
    )
    param = _path(first["loc"])
    match first["type"]:
        case "missing":
            message, code = f"Missing required parameter: '{param}'.", "missing_required_parameter"
        case "extra_forbidden":
            message, code = f"Unknown parameter: '{param}'.", "unknown_parameter"
        case kind:
            message = f"Invalid value for '{param}': {first['msg']}."
            code = "invalid_type" if kind.endswith("_type") else "invalid_value"
    return InvalidRequest(message, param=param, code=code)


def _path(location: tuple[int | str, ...]) -> str:
    """Return `messages[0].role` for ('messages', 0, 'role'), without pydantic's union tags."""
    path = str(location[0]) if location else ""
    for part in location[1:]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.isidentifier() and part not in {"str", "int", "float", "bool"}:
            path += f".{part}"
    return path
