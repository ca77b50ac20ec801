"""The request id: taken or made, bound to the logs, returned on every answer.

Owns the header and the one log line a request gets. A pure ASGI middleware, since Starlette's
base class costs more than the relay it would wrap.
"""

from __future__ import annotations

import logging
import random
import re
import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-request-id"
_HEADER = HEADER.encode()
_VALID = re.compile(rb"[\w.-]{1,128}", re.ASCII)
# What machines ask for all the time is worth a line only when debugging.
_QUIET = ("/health/", "/metrics", "/v1/models", "/v1/stats")

log = structlog.get_logger(__name__)


class RequestIdMiddleware:
    """Gives every HTTP request an id, in `scope["state"]["request_id"]` and in the logs."""

    def __init__(self, app: ASGIApp, quiet: tuple[str, ...] = ()) -> None:
        """Wrap `app`; requests whose path starts with one of `quiet` are logged at debug level."""
        self._app = app
        self._quiet = (*_QUIET, *quiet)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request under its id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = take_request_id(scope)
        status = 0
        started = time.monotonic()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (_HEADER, request_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                log_request(scope, status, started, self._quiet)


def take_request_id(scope: Scope) -> str:
    """Return the id that a request came with, or a new one; it is in the scope's state as well."""
    # Random, so that nobody meets another's; not secret.
    request_id = _taken(scope) or f"req-{random.getrandbits(128):032x}"
    scope.setdefault("state", {})["request_id"] = request_id
    return request_id


def log_request(scope: Scope, status: int, started: float, quiet: tuple[str, ...] = _QUIET) -> None:
    """Log one request that began at `started`, in seconds of the monotonic clock."""
    level = logging.DEBUG if scope["path"].startswith(quiet) else logging.INFO
    # What is not shown is not even put together.
    if log.is_enabled_for(level):
        log.log(
            level,
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            duration_ms=round((time.monotonic() - started) * 1000, 1),
        )


def _taken(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == _HEADER and _VALID.fullmatch(value):
            return value.decode("ascii")
    return None
