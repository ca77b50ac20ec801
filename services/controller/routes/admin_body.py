"""The body of an admin request, in a strict shape.

Owns its bound, and what the API's description says of it. FastAPI's own reading would tell of
faults in another form than ours.
"""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from pydantic import ValidationError

from shared.errors import InvalidRequest
from shared.http.body import ClientGone, read_body
from shared.protocol.body import parse_object
from shared.protocol.validation import Strict, as_invalid_request

_MAX_BODY_BYTES = 16 * 1024

ShapeT = TypeVar("ShapeT", bound=Strict)


async def read_admin_body(request: Request, shape: type[ShapeT]) -> ShapeT:
    """Return the request's body as `shape`; one that is left out is an empty object.

    Raises:
        InvalidRequest: it is none; the first fault is named. BodyTooLarge: over 16 KB.
    """
    try:
        raw = await read_body(request.scope, request.receive, _MAX_BODY_BYTES)
        return shape.model_validate(parse_object(raw or b"{}"))
    except ClientGone:
        msg = "The client left before its body was complete."
        raise InvalidRequest(msg) from None
    except ValidationError as fault:
        raise as_invalid_request(fault) from None


def schema_of(shape: type[Strict], *, required: bool = True) -> dict[str, Any]:
    """Return what the API's description says of such a body."""
    content = {"application/json": {"schema": shape.model_json_schema()}}
    return {"requestBody": {"required": required, "content": content}}
