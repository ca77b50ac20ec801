"""Failures as HTTP answers: every error leaves a service as OpenAI's error object.

Owns statuses and headers of error answers, for Starlette's apps (FastAPI's are) and plain ASGI.
"""

from __future__ import annotations

import math

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send

from shared.errors import (
    EngineFault,
    InvalidRequest,
    LLMZooError,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    Unauthorized,
)


def error_response(fault: LLMZooError) -> Response:
    """Return the answer that tells a client of `fault`."""
    return Response(
        orjson.dumps(fault.as_openai()),
        status_code=fault.status,
        media_type="application/json",
        headers=_headers(fault),
    )


async def send_error(send: Send, fault: LLMZooError) -> None:
    """Send the same answer over plain ASGI."""
    headers = {"content-type": "application/json", **_headers(fault)}
    await send(
        {
            "type": "http.response.start",
            "status": fault.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": orjson.dumps(fault.as_openai())})


def install(app: Starlette) -> None:
    """Make `app` answer its own and our failures in this form."""
    app.add_exception_handler(LLMZooError, _ours)
    app.add_exception_handler(HTTPException, _starlettes)
    app.add_exception_handler(Exception, _unforeseen)


def _headers(fault: LLMZooError) -> dict[str, str]:
    headers = dict(fault.headers) if isinstance(fault, RateLimited) else {}
    if isinstance(fault, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    if fault.retry_after is not None:
        headers["retry-after"] = whole_seconds(fault.retry_after)
    return headers


def whole_seconds(seconds: float) -> str:
    """Return a Retry-After: it takes whole seconds only, and is never less than what was meant."""
    return str(max(1, math.ceil(seconds)))


async def _ours(_: Request, fault: Exception) -> Response:
    assert isinstance(fault, LLMZooError)
    return error_response(fault)


async def _starlettes(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, HTTPException)
    where = f"{request.method} {request.url.path}"
    match fault.status_code:
        case 404:
            return error_response(NotFound(f"There is no {where}."))
        case 405:
            return error_response(MethodNotAllowed(f"{where}: the path takes another method."))
        case _:
            return error_response(InvalidRequest(str(fault.detail)))


async def _unforeseen(_: Request, fault: Exception) -> Response:
    # Starlette re-raises after this answer, so the traceback reaches the log.
    return error_response(unforeseen(fault))


def unforeseen(fault: Exception) -> LLMZooError:
    """Return what a client is told of a failure that nobody foresaw."""
    return EngineFault(f"Internal error ({type(fault).__name__}).", code="internal")
