"""An OpenAI-compatible server on a real socket that answers chat requests as a test tells it.

It answers whole, holds calls back at a gate, and keeps every call for the test to look at.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.http.server import bind
from tests.fakes.running_service import QuietServer


@dataclass
class Reply:
    """What a model answers: a text, or an error with a status of 400 and up."""

    text: str = ""
    status: int = 200
    error: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    raw: Any = None
    """The whole body instead."""


@dataclass
class Call:
    """One request as it came."""

    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def model(self) -> str:
        return self.body["model"]

    @property
    def prompt(self) -> str:
        return self.body["messages"][-1]["content"]

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]


class ScriptedModels:
    """`reply` decides on each call; while `gate` is closed, calls wait behind it."""

    def __init__(self, reply: Callable[[Call], Reply]) -> None:
        self.reply = reply
        self.calls: list[Call] = []
        self.answered: list[Call] = []
        self.cut = 0
        """Calls whose client went away before the answer."""
        self.gate = asyncio.Event()
        self.gate.set()
        self._changed = asyncio.Condition()
        listener = bind("127.0.0.1", 21_000, next_free=True)
        self.url = listener.url
        self.served = ["alpha", "beta", "candidate", "judge"]
        routes = [
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/models", self._models),
        ]
        app = Starlette(routes=routes)
        self._server = QuietServer(
            uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
        )
        self._task = asyncio.create_task(self._server.serve(sockets=[listener.sock]))

    @property
    def open(self) -> int:
        return len(self.calls) - len(self.answered) - self.cut

    def keys(self) -> Counter[str]:
        """Return how often each call was answered."""
        return Counter(call.key for call in self.answered)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until `holds`, looked at whenever a call comes or goes."""
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(holds)

    async def stop(self) -> None:
        self._server.should_exit = True
        await self._task

    async def _chat(self, request: Request) -> Response:
        call = Call(await request.json(), dict(request.headers))
        self.calls.append(call)
        await self._note()
        if await self._passes(request):
            self.answered.append(call)
        else:
            self.cut += 1
        await self._note()
        reply = self.reply(call)
        if reply.status >= 400:
            return JSONResponse({"error": reply.error}, reply.status, reply.headers)
        message = {"role": "assistant", "content": reply.text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
        return JSONResponse(reply.raw or {"choices": [choice], "usage": usage})

    async def _models(self, _: Request) -> Response:
        entries = [{"id": name, "object": "model", "owned_by": "llmzoo"} for name in self.served]
        return JSONResponse({"object": "list", "data": entries})

    async def _passes(self, request: Request) -> bool:
        """Wait at the gate; return whether the client waited too."""
        gate = asyncio.create_task(self.gate.wait())
        gone = asyncio.create_task(request.receive())
        done, pending = await asyncio.wait({gate, gone}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        return gone not in done

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()
