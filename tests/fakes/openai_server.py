"""A server with OpenAI's two completions APIs that behaves as a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from shared.protocol.priority import PRIORITY_HEADER
from shared.protocol.sse import DONE, event

PIECES = 4
PROMPT_TOKENS = 21


class ServerDied(Exception):
    """Raised in the middle of an answer: the connection is cut."""


@dataclass
class Manners:
    """How requests are answered."""

    tokens_a_piece: int = 1
    usage: bool = True
    done: bool = True
    rejected: tuple[int, ...] = ()
    """Which requests, counted from 0, are refused with 429."""
    status: int = 200
    dies: tuple[int, ...] = ()
    """Which ones lose their connection after two pieces."""
    hangs: bool = False
    """Whether answers stay open after two pieces."""
    pace: float = 0.0
    """Seconds a step: batch requests get max_tokens pieces, one a step, and interactive ones wait
    two steps for their first piece while a batch request runs."""


@dataclass
class OpenAIServer:
    """What it was asked is kept for the test to look at."""

    manners: Manners = field(default_factory=Manners)
    requests: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    """Path, body and headers."""
    hanging: int = 0
    batch_running: int = 0

    @property
    def app(self) -> ASGIApp:
        paths = ("/v1/chat/completions", "/v1/completions")
        return Starlette(routes=[Route(path, self._answer, methods=["POST"]) for path in paths])

    @property
    def prompts(self) -> list[str]:
        return [
            body["messages"][-1]["content"] if "messages" in body else body["prompt"]
            for _, body, _ in self.requests
        ]

    async def _answer(self, request: Request) -> Response:
        number = len(self.requests)
        body = await request.json()
        self.requests.append((request.url.path, body, dict(request.headers)))
        manners = self.manners
        if manners.status >= 400:
            return JSONResponse({"detail": "not today"}, manners.status)
        if number in manners.rejected:
            error = {"message": "All places are taken.", "type": "server_error"}
            return JSONResponse({"error": error}, 429, {"retry-after": "1"})
        batch = request.headers.get(PRIORITY_HEADER) == "batch"
        events = self._paced(batch, body) if manners.pace else self._events(number, body)
        return StreamingResponse(events, media_type="text/event-stream")

    async def _paced(self, batch: bool, body: dict[str, Any]) -> AsyncGenerator[bytes]:
        if not batch and self.batch_running:
            await asyncio.sleep(2 * self.manners.pace)
        self.batch_running += batch
        try:
            for _ in range(body["max_tokens"] if batch else 1):
                yield event({"choices": [{"index": 0, "delta": {"content": "x"}}]})
                await asyncio.sleep(self.manners.pace if batch else 0)
        finally:
            self.batch_running -= batch
        yield event({"choices": [{"index": 0, "finish_reason": "length", "delta": {}}]})
        yield DONE

    async def _events(self, number: int, body: dict[str, Any]) -> AsyncGenerator[bytes]:
        for index in range(PIECES):
            if index == 2 and number in self.manners.dies:
                raise ServerDied
            if index == 2 and self.manners.hangs:
                self.hanging += 1
                await asyncio.Event().wait()
            piece = {"text": " x"} if "prompt" in body else {"delta": {"content": " x"}}
            yield event({"choices": [{"index": 0, "finish_reason": None, **piece}]})
        yield event({"choices": [{"index": 0, "finish_reason": "length", "delta": {}, "text": ""}]})
        if self.manners.usage:
            tokens = PIECES * self.manners.tokens_a_piece
            usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens}
            yield event({"choices": [], "usage": usage})
        if self.manners.done:
            yield DONE
