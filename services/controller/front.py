"""What every request meets first and last: its id, its key, its count and its line in the log.

Owns the outermost layer of the controller, in one piece: each layer more costs every request and
every chunk of an answer. Pure ASGI. What a path does is not its affair.
"""

from __future__ import annotations

import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.controller.access.guard import KeyGuard
from services.controller.metrics import CLIENT_GONE, ControllerMetrics
from shared.errors import LLMZooError
from shared.http.faults import send_error, unforeseen
from shared.http.request_id import log_request, take_names
from shared.protocol.request_id import REQUEST_ID_HEADER

_HEADER = REQUEST_ID_HEADER.encode()


class Front:
    """Lets requests in and sees answers out."""

    def __init__(self, app: ASGIApp, guard: KeyGuard, metrics: ControllerMetrics) -> None:
        """Stand before `app`."""
        self._app = app
        self._guard = guard
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        started = time.monotonic()
        names = take_names(scope)
        answer = _Answer(send, names["request_id"])
        # Each request has a task, and so a context, of its own.
        structlog.contextvars.bind_contextvars(**names)
        try:
            await self._guard.admit(scope)
            await self._app(scope, receive, answer.send)
        except LLMZooError as fault:
            await send_error(answer.send, fault)
        except Exception as fault:
            if not answer.status:
                await send_error(answer.send, unforeseen(fault))
            raise  # the server logs it, and cuts an answer short
        finally:
            status = answer.status or CLIENT_GONE
            self._metrics.count(scope["path"], status)
            log_request(scope, status, started)


class _Answer:
    """An answer on its way, which gets the request's id and whose status is noted."""

    __slots__ = ("_send", "request_id", "status")

    def __init__(self, send: Send, request_id: str) -> None:
        self.status = 0
        self.request_id = request_id
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message.get("headers", ()),
                (_HEADER, self.request_id.encode("ascii")),
            ]
        await self._send(message)
