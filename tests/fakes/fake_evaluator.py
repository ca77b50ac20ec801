"""An evaluator over real sockets that tells what it was asked and answers as its path says.

/v1/evals/echo…     method, path, query, headers and length of the body, as JSON
/v1/evals/events    server-sent events, one a turn of `gate`
/v1/evals/slow      waits for `gate` before it reads the body
/v1/evals/refuse    413 before the body is read
/v1/evals/break     half an answer, then a cut; /v1/evals/break-events the same in a stream
/v1/evals/silent    no answer
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import uvicorn
from starlette.types import Receive, Scope, Send

from shared.http.server import bind
from shared.protocol.workers import ServiceRecord, State
from tests.fakes.running_service import QuietServer


class EvaluatorDied(Exception):
    """Raised in the middle of an answer: the connection is cut."""


class FakeEvaluator:
    """Its heartbeat is announced by the tests' fixture, like a fake worker's."""

    def __init__(self, name: str = "evaluator-1") -> None:
        self.name = name
        self.state = State.READY
        self.asked: list[dict[str, Any]] = []
        self.received = 0
        self.running = 0
        self.gate = asyncio.Semaphore(0)
        self.port = 0
        self._changed = asyncio.Condition()
        self._server: QuietServer | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> FakeEvaluator:
        listener = bind("127.0.0.1", self.port or 24_000, next_free=True)
        self.port = listener.port
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            http="httptools",
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=1,
        )
        self._server = QuietServer(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener.sock]))
        return self

    async def stop(self) -> None:
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task

    def record(self) -> ServiceRecord:
        return ServiceRecord(
            id=self.name,
            kind="evaluator",
            address=f"http://127.0.0.1:{self.port}",
            incarnation="",
            state=self.state,
        )

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(holds)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._count(1)
        try:
            path = scope["path"].removeprefix("/v1/evals")
            match path:
                case "/events" | "/break-events":
                    await self._events(scope, receive, send, breaks=path == "/break-events")
                case "/slow":
                    await self.gate.acquire()
                    await self._echo(scope, receive, send)
                case "/refuse":
                    await _start(send, 413, b"application/json")
                    await send({"type": "http.response.body", "body": b'{"error":{}}'})
                case "/break":
                    await _start(send, 200, b"application/json", (b"content-length", b"100"))
                    await send({"type": "http.response.body", "body": b"{", "more_body": True})
                    raise EvaluatorDied
                case "/silent":
                    await _gone(receive)
                case _:
                    await self._echo(scope, receive, send)
        finally:
            await self._count(-1)

    async def _echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = bytearray()
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            self.received += len(message["body"])
            if not message["more_body"]:
                break
        told = {
            "evaluator": self.name,
            "method": scope["method"],
            "path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
            "length": len(body),
        }
        self.asked.append(told)
        headers = [(b"keep-alive", b"timeout=5"), (b"x-of-evaluator", b"1")]
        await _start(send, 201, b"application/json", *headers)
        await send({"type": "http.response.body", "body": orjson.dumps(told)})

    async def _events(self, scope: Scope, receive: Receive, send: Send, *, breaks: bool) -> None:
        headers = dict(scope["headers"])
        first = int(headers.get(b"last-event-id", b"0")) + 1
        await _start(send, 200, b"text/event-stream")
        gone = asyncio.create_task(_gone(receive))
        try:
            for number in range(first, first + 3):
                turn = asyncio.create_task(self.gate.acquire())
                await asyncio.wait({turn, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not turn.done():
                    turn.cancel()
                    return
                body = b"id: %d\ndata: {}\n\n" % number
                await send({"type": "http.response.body", "body": body, "more_body": True})
                if breaks:
                    raise EvaluatorDied
        finally:
            gone.cancel()
        await send({"type": "http.response.body", "body": b""})

    async def _count(self, change: int) -> None:
        self.running += change
        async with self._changed:
            self._changed.notify_all()


async def _start(send: Send, status: int, kind: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", kind), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
