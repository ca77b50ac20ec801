"""The events of a run as our clients read them: over many connections, none missing, none twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from shared.client import APIError, ZooClient
from shared.errors import MalformedAnswer, Unavailable, UpstreamFailed
from shared.eval_client import EvalClient
from shared.run_events import RunEvents
from tests.fakes.controller_app import ServedApp


def told(number: int, name: str = "progress", data: bytes = b"{}") -> bytes:
    return b"id: 7-%d\nevent: %s\ndata: %s\n\n" % (number, name.encode(), data)


@dataclass
class Connections:
    """What each connection in turn is answered with."""

    answers: list[bytes | int | float]
    """Bytes of a stream, a status, or for how many seconds a stream says that it is there."""
    asked: list[str | None] = field(default_factory=list)

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._answer)])

    async def _answer(self, request: Request) -> Response:
        self.asked.append(request.headers.get("last-event-id"))
        answer = self.answers.pop(0) if self.answers else 503
        if isinstance(answer, bytes):
            return Response(answer, media_type="text/event-stream")
        if isinstance(answer, float):
            return StreamingResponse(_silence(answer), media_type="text/event-stream")
        return JSONResponse({"error": {"message": "no"}}, answer)


async def _silence(seconds: float) -> AsyncGenerator[bytes]:
    for _ in range(4):
        yield b": here\n\n"
        await asyncio.sleep(seconds / 4)


async def read(answers, patience=5.0):
    """Return the numbers of the events that came, and what each connection asked for."""
    connections = Connections(list(answers))
    with ServedApp(connections.app) as served:
        async with ZooClient(served.url) as zoo:
            events = RunEvents(zoo, "eval_1", "evalrun_1", patience).events()
            async with aclosing(events):
                numbers = [event.id async for event in events]
    return numbers, connections.asked


async def test_events_come_to_the_last_one():
    stream = b": here\n\n" + told(1) + told(2, "item") + b": still\n\n" + told(3, "done") + told(4)
    assert await read([stream]) == (["7-1", "7-2", "7-3"], [None])


async def test_a_lost_connection_is_replaced_after_the_last_event():
    half = told(2)[:9]
    answers = [told(1) + half, 503, b"", told(2), told(3, "done")]
    numbers, asked = await read(answers)
    assert numbers == ["7-1", "7-2", "7-3"]
    assert asked == [None, "7-1", "7-1", "7-1", "7-2"]


async def test_events_that_a_newer_server_has_are_passed_over():
    assert (await read([told(1, "mood") + told(2, "done")]))[0] == ["7-2"]


async def test_an_error_event_is_a_lost_connection():
    answers = [told(1) + told(2, "error"), told(2, "done")]
    assert (await read(answers))[0] == ["7-1", "7-2"]


@pytest.mark.parametrize("status", [401, 404, 410])
async def test_what_is_refused_is_not_tried_again(status):
    with pytest.raises(APIError) as refused:
        await read([told(1), status, told(2, "done")])
    assert refused.value.status == status


@pytest.mark.parametrize("data", [b"[", b"\xff"])
async def test_what_is_no_stream_of_events_is_said(data):
    with pytest.raises(MalformedAnswer):
        await read([told(1, data=data)])


async def test_a_long_silence_is_no_absence():
    assert (await read([told(1), 1.2, told(2, "done")], patience=0.8))[0] == ["7-1", "7-2"]


async def test_patience_ends():
    with pytest.raises((APIError, UpstreamFailed)):
        await read([told(1)], patience=0.0)
    async with ZooClient("http://127.0.0.1:9") as zoo:
        with pytest.raises(Unavailable):
            await anext(RunEvents(zoo, "eval_1", "evalrun_1", 0.0).events())


@pytest.mark.parametrize("body", [{}, {"id": 3}, {"id": "evalrun_1", "status": "odd"}])
async def test_an_answer_that_is_no_run_is_said(body):
    async def answer(_):
        return JSONResponse(body)

    app = Starlette(routes=[Route("/{path:path}", answer)])
    with ServedApp(app) as served:
        async with ZooClient(served.url) as zoo:
            with pytest.raises(MalformedAnswer, match="Run"):
                await EvalClient(zoo).run("eval_1", "evalrun_1")
