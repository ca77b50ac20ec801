"""`GET /openapi.json`: what this API is, for programs that read such documents.

Owns the descriptions of the routes that no framework serves; the framework tells of its own. The
shapes of requests are those that workers validate by.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson
from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.protocol.openai import ChatCompletionRequest, CompletionRequest
from shared.protocol.tokenization import Detokenize, TokenizeChat, TokenizePrompt

PATH = "/openapi.json"
_REF = "#/components/schemas/{model}"
_JSON, _EVENTS, _TEXT = "application/json", "text/event-stream", "text/plain"

_POSTED: dict[str, tuple[str, str, tuple[type[BaseModel], ...]]] = {
    "/v1/chat/completions": ("Answer a conversation", "chat", (ChatCompletionRequest,)),
    "/v1/completions": ("Go on with a text", "chat", (CompletionRequest,)),
    "/tokenize": ("Turn a text into tokens", "tokens", (TokenizePrompt, TokenizeChat)),
    "/detokenize": ("Turn tokens into a text", "tokens", (Detokenize,)),
}
_READ = {
    "/health/live": ("Whether the process runs", _JSON),
    "/health/ready": ("Whether requests can be routed", _JSON),
    "/metrics": ("What is measured, for Prometheus", _TEXT),
    "/version": ("Which version runs", _JSON),
    PATH: ("This document", _JSON),
}
_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def openapi_route(app: FastAPI) -> Route:
    """Return the route that describes `app` and what stands beside it."""

    @cache
    def document() -> bytes:
        return orjson.dumps(describe(app))

    async def answer(_: Request) -> Response:
        return Response(document(), media_type=_JSON)

    return Route(PATH, answer)


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the whole document."""
    told = app.openapi()
    shapes = [(shape, "validation") for _, _, all_of in _POSTED.values() for shape in all_of]
    _, defined = models_json_schema(shapes, ref_template=_REF)  # pyright: ignore[reportArgumentType]
    components = told.setdefault("components", {})
    components.setdefault("schemas", {}).update({"Error": _ERROR, **defined["$defs"]})
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    told["security"] = [{"key": []}]
    for path, (summary, tag, all_of) in _POSTED.items():
        told["paths"][path] = {"post": _posted(path, summary, tag, all_of)}
    for path, (summary, media_type) in _READ.items():
        operation = {"summary": summary, "tags": ["operations"], "responses": _ok(media_type)}
        told["paths"][path] = {"get": operation}
    for methods in told["paths"].values():
        for operation in methods.values():
            operation["responses"]["default"] = _error()
    return told


def _posted(
    path: str, summary: str, tag: str, all_of: tuple[type[BaseModel], ...]
) -> dict[str, Any]:
    schemas = [{"$ref": _REF.format(model=shape.__name__)} for shape in all_of]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    streams = path.endswith("/completions")
    return {
        "summary": summary,
        "tags": [tag],
        "requestBody": {"required": True, "content": {_JSON: {"schema": schema}}},
        "responses": _ok(_JSON, *([_EVENTS] if streams else [])),
    }


def _ok(*media_types: str) -> dict[str, Any]:
    return {"200": {"description": "The answer", "content": {each: {} for each in media_types}}}


def _error() -> dict[str, Any]:
    schema = {"$ref": _REF.format(model="Error")}
    return {"description": "An error", "content": {_JSON: {"schema": schema}}}
