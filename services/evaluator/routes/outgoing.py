"""Answers: JSON, and lists as OpenAI's API has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from pydantic import BaseModel
from starlette.responses import Response

Shown = BaseModel | dict[str, Any]


def answer(shown: Shown, status: int = 200, *, location: str = "") -> Response:
    """Return an answer with one object."""
    headers = {"location": location} if location else None
    content = shown.model_dump_json() if isinstance(shown, BaseModel) else orjson.dumps(shown)
    return Response(content, status, media_type="application/json", headers=headers)


def page(shown: Sequence[Shown], has_more: bool, **more: int) -> Response:
    """Return a list, with `more` told of it."""
    data = [each.model_dump(mode="json") if isinstance(each, BaseModel) else each for each in shown]
    content = {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
        **more,
    }
    return Response(orjson.dumps(content), media_type="application/json")
