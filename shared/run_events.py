"""The events of one run, over as many connections as it takes.

Owns when a lost connection is replaced: always, until the run's last event has come or nobody has
answered for as long as the caller is patient. The next one goes on after the last event id, so no
event is missing and none comes twice. Knows nothing of what events mean.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import orjson
from pydantic import ValidationError

from shared.client import ZooClient
from shared.errors import LLMZooError, MalformedAnswer, UpstreamFailed
from shared.eval_client import run_path
from shared.protocol.evals.results import RunEvent
from shared.protocol.event_id import LAST_EVENT_ID_HEADER
from shared.protocol.sse import SSEDecoder

_SILENCE_SECONDS = 45.0
"""The evaluator sends something every 15 seconds."""
_KNOWN = (b"progress", b"item", b"warning", b"done")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


class RunEvents:
    """Iterate `events` once."""

    def __init__(self, zoo: ZooClient, eval_id: str, run_id: str, patience: float) -> None:
        """Prepare; nothing is asked yet.

        Args:
            zoo: the controller to ask.
            eval_id: the eval that the run belongs to.
            run_id: the run.
            patience: seconds without any answer after which it is given up.
        """
        self._zoo = zoo
        self._path = f"{run_path(eval_id, run_id)}/events"
        self._patience = patience
        self._decoder = SSEDecoder()

    async def events(self) -> AsyncGenerator[RunEvent]:
        """Yield the events from the run's beginning to its end.

        Raises:
            LLMZooError: the server refuses, or was away for longer than the caller is patient.
        """
        pause, answered = _FIRST_PAUSE, time.monotonic()
        while True:
            try:
                async with aclosing(self._connection()) as events:
                    async for told in events:
                        pause, answered = _FIRST_PAUSE, time.monotonic()
                        yield told
                        if told.event == "done":
                            return
            except LLMZooError as fault:
                if not fault.retryable or time.monotonic() - answered > self._patience:
                    raise
                pause = max(pause, fault.retry_after or 0)
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _connection(self) -> AsyncGenerator[RunEvent]:
        self._decoder.reconnected()
        place = self._decoder.last_event_id.decode("ascii", errors="ignore")
        headers = {"accept": "text/event-stream"}
        if place:
            headers[LAST_EVENT_ID_HEADER] = place
        async with self._zoo.reading(self._path, headers, _SILENCE_SECONDS) as pieces:
            async for piece in pieces:
                for told in self._read(piece):
                    yield told
        raise UpstreamFailed("The events broke off before their end.")

    def _read(self, piece: bytes) -> list[RunEvent]:
        try:
            found = [self._event(data) for data in self._decoder.feed(piece)]
        except (ValueError, ValidationError) as fault:
            raise MalformedAnswer("The answer is no stream of a run's events.") from fault
        return [told for told in found if told is not None]

    def _event(self, data: bytes) -> RunEvent | None:
        """Return what one event says; None for one that a newer server has."""
        name = self._decoder.event
        if name == b"error":
            raise UpstreamFailed("The events broke off with an error.")
        if name not in _KNOWN:
            return None
        told: object = orjson.loads(data)
        return RunEvent.model_validate(
            {
                "id": self._decoder.last_event_id.decode("ascii", errors="ignore"),
                "event": name.decode(),
                "data": told if isinstance(told, dict) else {},
            }
        )
