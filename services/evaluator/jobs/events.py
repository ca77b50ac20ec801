"""Following a run: what its scripts told, replayed from any point and then live.

Owns the end of a stream of events and the bound on its readers. Writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from typing import Any

import orjson

from services.evaluator.jobs.connection import reaching_redis
from shared.errors import InvalidRequest, Overloaded
from shared.protocol.evals.results import RunEvent
from shared.protocol.evals.run import RunStatus
from shared.registry import keys

HEARTBEAT_SECONDS = 15.0
MAX_READERS = 64
_SLICE = 500
_FULL_RETRY_AFTER = 5.0
_ID = re.compile(r"\d{1,19}(-\d{1,19})?")
_OVER = {status.value.encode() for status in RunStatus if status.over}


class Events:
    """The events of runs, for a bounded number of readers."""

    def __init__(self, redis: Any, following: Any, heartbeat: float = HEARTBEAT_SECONDS) -> None:
        """Use `following`, a client that bears silence, to wait, and `redis` for the rest."""
        self._redis = redis
        self._following = following
        self._heartbeat = heartbeat
        self._readers = 0

    async def follow(self, run_id: str, after: str | None) -> AsyncGenerator[RunEvent | None]:
        """Yield the events behind `after`, then those to come; None each quiet while.

        Ends when the run has ended and all is told, or when its data are gone.

        Raises:
            InvalidRequest: `after` is no event's id. Overloaded: too many readers.
            StoreUnreachable.
        """
        if after is not None and _ID.fullmatch(after) is None:
            msg = "'Last-Event-ID' is no id of an event."
            raise InvalidRequest(msg, param="Last-Event-ID")
        if self._readers >= MAX_READERS:
            msg = f"{MAX_READERS} readers follow runs already; try again later."
            raise Overloaded(msg, retry_after=_FULL_RETRY_AFTER)
        self._readers += 1
        try:
            async for event in self._follow(run_id, after or "0-0"):
                yield event
        finally:
            self._readers -= 1

    async def _follow(self, run_id: str, last: str) -> AsyncGenerator[RunEvent | None]:
        while True:
            # The status is asked first: what ended it is in the stream by then.
            over = await self._over(run_id)
            entries = await self._read(run_id, last, wait=not over)
            told = [_event(stream_id.decode(), fields) for stream_id, fields in entries]
            for event in told:
                last = event.id
                # What follows an end is a resumption: it was none.
                if event.event != "done" or (event is told[-1] and await self._over(run_id)):
                    yield event
            if over and len(entries) < _SLICE:
                return
            if not entries:
                yield None

    async def _read(
        self, run_id: str, last: str, *, wait: bool
    ) -> list[tuple[bytes, dict[bytes, bytes]]]:
        name = keys.evaluation_run_part(run_id, "events")
        client = self._following if wait else self._redis
        block = int(self._heartbeat * 1000) if wait else None
        with reaching_redis():
            found = await client.xread({name: last}, count=_SLICE, block=block)
        return found[0][1] if found else []

    async def _over(self, run_id: str) -> bool:
        with reaching_redis():
            status = await self._redis.hget(keys.evaluation_run(run_id), "status")
        return status is None or status in _OVER or status == b"deleted"


def _event(event_id: str, fields: dict[bytes, bytes]) -> RunEvent:
    data = orjson.loads(fields[b"data"])
    return RunEvent.model_construct(id=event_id, event=fields[b"event"].decode(), data=data)
