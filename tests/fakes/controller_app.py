"""A controller that answers what a test tells it to, over real sockets.

It speaks just as much of the public API as a client of ours uses: `GET /v1/models` and
streamed or whole `POST /v1/chat/completions`. What it was asked, and which streams were cut
by their client, is kept for the test to look at.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.protocol.sse import DONE, event


@dataclass
class Script:
    """How one message is answered."""

    pieces: Iterable[str] = ("Hello", " from", " the fake.")
    pause: float = 0.0
    finish_reason: str = "stop"
    status: int = 200
    error: dict[str, Any] | None = None
    """Before the first piece with a `status` of 400 and up, else after the last one."""
    breaks_off: bool = False


@dataclass
class FakeController:
    """`scripts` are looked up by the last message's text."""

    models: list[dict[str, Any]] = field(default_factory=list)
    scripts: dict[str, Script] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    cut: int = 0
    """Streams that their client closed before the end."""
    streaming: int = 0

    @property
    def app(self) -> ASGIApp:
        return Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
            ]
        )

    async def _models(self, request: Request) -> Response:
        self.authorizations.append(request.headers.get("authorization"))
        return JSONResponse({"object": "list", "data": self.models})

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        script = self.scripts.get(body["messages"][-1]["content"], Script())
        headers = {"x-request-id": f"req-fake-{len(self.requests)}"}
        if script.status >= 400:
            return JSONResponse({"error": script.error}, script.status, headers)
        if body.get("stream"):
            return _Stream(self, script, headers)
        message = {"role": "assistant", "content": "".join(script.pieces)}
        choice = {"index": 0, "message": message, "finish_reason": script.finish_reason}
        return JSONResponse({"choices": [choice], "usage": {}}, headers=headers)


class _Stream(StreamingResponse):
    """One streamed answer; it counts itself as cut when its client leaves before the end."""

    def __init__(self, controller: FakeController, script: Script, headers: dict[str, str]) -> None:
        super().__init__(self._events(script), media_type="text/event-stream", headers=headers)
        self._controller = controller
        self._complete = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._controller.streaming += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._controller.streaming -= 1
            self._controller.cut += not self._complete

    async def _events(self, script: Script) -> AsyncGenerator[bytes]:
        for piece in script.pieces:
            yield _chunk({"content": piece})
            await asyncio.sleep(script.pause)
        if script.error is not None:
            yield event({"error": script.error})
        elif not script.breaks_off:
            yield _chunk({}, script.finish_reason)
            yield DONE
        self._complete = True


def _chunk(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    return event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


class ServedApp:
    """An ASGI app on a free loopback port, in a thread with a loop of its own."""

    def __init__(self, app: ASGIApp, *, date: str = "") -> None:
        """`date` is sent in the header of that name instead of the true one."""
        config = uvicorn.Config(
            app,
            host="127.0.0.1",
            port=0,
            log_config=None,
            timeout_graceful_shutdown=1,
            date_header=not date,
            headers=[("date", date)] if date else [],
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                msg = "the server ended at its start"
                raise RuntimeError(msg)
            self._thread.join(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
