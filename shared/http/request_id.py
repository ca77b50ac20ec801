"""The request id: taken or made, bound to the logs, returned on every answer.

Owns the header and the one log line a request gets. A pure ASGI middleware, since Starlette's
base class costs more than the relay it would wrap.
"""

from __future__ import annotations

import logging
import random
import re
import time
from typing import cast

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.protocol.request_id import REQUEST_ID_HEADER
from shared.protocol.trace_context import TRACE_PARENT, is_trace_parent, trace_id

_HEADER, _TRACE_PARENT = REQUEST_ID_HEADER.encode(), TRACE_PARENT.encode()
_VALID = re.compile(rb"[\w.-]{1,128}", re.ASCII)
_REQUEST_ID, _FACTS = "request_id", "facts"
_MOST_LETTERS = 256
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
        names = take_names(scope)
        request_id = names[_REQUEST_ID]
        status = 0
        started = time.monotonic()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (_HEADER, request_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        with structlog.contextvars.bound_contextvars(**names):
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                log_request(scope, status, started, self._quiet)


def new_request_id() -> str:
    """Return an id that no other request has; it is no secret."""
    return f"req-{random.getrandbits(128):032x}"


def take_names(scope: Scope) -> dict[str, str]:
    """Return what each line of the log is to say of a request: its id, and its trace if it has one.

    The id is the one that it came with, or a new one; it is in the scope's state as well.
    """
    names: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name == _HEADER:
            if _REQUEST_ID not in names and _VALID.fullmatch(value):
                names[_REQUEST_ID] = value.decode("ascii")
        elif name == _TRACE_PARENT and is_trace_parent(value):
            names["trace_id"] = trace_id(value)
    if _REQUEST_ID not in names:
        names[_REQUEST_ID] = new_request_id()
    state = scope.setdefault("state", {})
    state[_REQUEST_ID] = names[_REQUEST_ID]
    state[_FACTS] = {}
    return names


def facts_of(scope: Scope) -> dict[str, object]:
    """Return what a request's line tells beside; whoever finds something out of it adds it.

    The names are the same in all services: model, worker, tokens_in, tokens_out.
    """
    return cast("dict[str, object]", scope["state"].setdefault(_FACTS, {}))


def loggable(text: str) -> str:
    """Return what a client has sent as it may stand in a line: short, and nothing breaks the line."""
    text = text[:_MOST_LETTERS]
    return text if text.isprintable() else ascii(text)


def log_request(scope: Scope, status: int, started: float, quiet: tuple[str, ...] = _QUIET) -> None:
    """Log one request that began at `started`, in seconds of the monotonic clock."""
    level = logging.DEBUG if scope["path"].startswith(quiet) else logging.INFO
    # What is not shown is not even put together.
    if log.is_enabled_for(level):
        log.log(
            level,
            "request",
            method=scope["method"],
            path=loggable(scope["path"]),
            status=status,
            duration_ms=round((time.monotonic() - started) * 1000, 1),
            **facts_of(scope),
        )
