"""Answers: JSON, and lists as OpenAI's API has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from services.evaluator.sealed_rows import json_text

Shown = BaseModel | dict[str, Any]


def answer(shown: Shown, status: int = 200, *, location: str = "") -> Response:
    """Return an answer with one object."""
    headers = {"location": location} if location else None
    return Response(json_text(shown), status, media_type="application/json", headers=headers)


def page(shown: Sequence[Shown], has_more: bool, **more: int) -> Response:
    """Return a list, with `more` told of it."""
    content = {
        "object": "list",
        "data": shown,
        "first_id": _id_of(shown[0]) if shown else None,
        "last_id": _id_of(shown[-1]) if shown else None,
        "has_more": has_more,
        **more,
    }
    return Response(json_text(content), media_type="application/json")


def _id_of(shown: Shown) -> Any:
    return dict(shown)["id"]
