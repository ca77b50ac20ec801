"""What comes with a request: a body within its bound, paging, switches.

Owns the bounds and how they are told. Knows no spec.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Literal, cast

from starlette.requests import Request

from services.evaluator.jobs.pages import Order
from services.evaluator.specs.body import parse_body
from shared.errors import InvalidRequest
from shared.http.body import ClientGone, read_body

DEFAULT_LIMIT, MAX_LIMIT = 20, 100
_SMALL = 64 * 1024
"""Bytes that are parsed at once; more are parsed in a thread."""


async def raw_body(request: Request, most: int) -> bytes:
    """Return the bytes of the body. Raises BodyTooLarge."""
    try:
        return await read_body(request.scope, request.receive, most)
    except ClientGone:
        # Nobody reads this answer; it only ends the request in the logs.
        msg = "The request broke off before its end."
        raise InvalidRequest(msg) from None


async def parsed(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; none is an empty one. Raises as `parse_body`."""
    if not raw.strip():
        return {}
    if len(raw) <= _SMALL:
        return parse_body(raw)
    return await asyncio.to_thread(parse_body, raw)


def paging(request: Request) -> tuple[str | None, int]:
    """Return `after` and `limit`. Raises InvalidRequest."""
    told = request.query_params.get("limit", str(DEFAULT_LIMIT))
    digits = told.isascii() and told.isdigit() and len(told) <= len(str(MAX_LIMIT))
    limit = int(told) if digits else 0
    if not 1 <= limit <= MAX_LIMIT:
        msg = f"'limit' must be a whole number from 1 to {MAX_LIMIT}."
        raise InvalidRequest(msg, param="limit")
    return request.query_params.get("after") or None, limit


def order_of(request: Request, default: Order) -> Order:
    """Return the order of a list. Raises InvalidRequest."""
    return cast("Order", chosen(request, "order", ("asc", "desc"), default))


def chosen(request: Request, name: str, known: Collection[str], default: str) -> str:
    """Return a parameter that takes one of a few values. Raises InvalidRequest."""
    value = request.query_params.get(name)
    if value is None:
        return default
    if value not in known:
        msg = f"'{name}' must be one of {', '.join(known)}."
        raise InvalidRequest(msg, param=name)
    return value


def switch(request: Request, name: str) -> bool:
    """Return a parameter that is on or off; it alone, without a value, is on."""
    values: dict[str, Literal[True] | None] = {"": True, "1": True, "true": True}
    value = request.query_params.get(name, "0").lower()
    if value not in {*values, "0", "false"}:
        msg = f"'{name}' must be 'true' or 'false'."
        raise InvalidRequest(msg, param=name)
    return value in values
