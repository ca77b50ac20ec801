"""`…/events`: a run followed live, as server-sent events; what was missed is told first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from services.evaluator.jobs.store import EvalStore
from shared.errors import LLMZooError
from shared.protocol.evals.results import RunEvent

_HEADER, _QUERY = "last-event-id", "last_event_id"
_HEARTBEAT = b": still here\n\n"
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}

Events = AsyncIterator[RunEvent | None]


class EventHandlers:
    """Answers with the events of a run."""

    def __init__(self, store: EvalStore) -> None:
        """Follow what `store` tells."""
        self._store = store

    async def follow(self, request: Request) -> Response:
        """`GET …/events`; where to begin is told by a header, or in the query by browsers."""
        run = await self._store.get_run(**request.path_params)
        query = request.query_params
        after = request.headers.get(_HEADER) or query.get(_QUERY) or query.get("after")
        events = self._store.events(run.id, after)
        first = asyncio.ensure_future(_next(events))
        # Its first step tells whether it may begin; the first event may be long in coming.
        await asyncio.sleep(0)
        if first.done() and first.exception() is not None:
            await first
        return StreamingResponse(
            _told(events, first), media_type="text/event-stream", headers=_HEADERS
        )


async def _next(events: Events) -> RunEvent | None:
    return await anext(events)


async def _told(events: Events, first: asyncio.Task[RunEvent | None]) -> AsyncIterator[bytes]:
    """Yield events as bytes; where Redis fails it ends, and the client comes again."""
    try:
        yield _bytes(await first)
        async for event in events:
            yield _bytes(event)
    except (StopAsyncIteration, LLMZooError):
        return
    finally:
        first.cancel()
        await events.aclose()  # type: ignore[attr-defined]


def _bytes(event: RunEvent | None) -> bytes:
    if event is None:
        return _HEARTBEAT
    head = f"id: {event.id}\nevent: {event.event}\ndata: ".encode()
    return head + orjson.dumps(event.data) + b"\n\n"
