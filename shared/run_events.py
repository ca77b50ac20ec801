"""The events of one run, over as many connections as it takes.

Owns when a lost connection is replaced: always, until the run's last event has come or nobody has
answered for as long as the caller is patient. The next one goes on after the last event id, so no
event is missing and none comes twice. Knows nothing of what events mean.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Iterator
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
        self._place = ""
        self._answered = time.monotonic()

    async def events(self) -> AsyncGenerator[RunEvent]:
        """Yield the events from the run's beginning to its end.

        Raises:
            LLMZooError: the server refuses, or was away for longer than the caller is patient.
        """
        pause, self._answered = _FIRST_PAUSE, time.monotonic()
        while True:
            try:
                async with aclosing(self._connection()) as events:
                    async for told in events:
                        self._place, pause = told.id, _FIRST_PAUSE
                        yield told
                        if told.event == "done":
                            return
            except LLMZooError as fault:
                if not fault.retryable or time.monotonic() - self._answered > self._patience:
                    raise
                pause = max(pause, fault.retry_after or 0)
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _connection(self) -> AsyncGenerator[RunEvent]:
        headers = {"accept": "text/event-stream"}
        if self._place:
            headers[LAST_EVENT_ID_HEADER] = self._place
        decoder = SSEDecoder()
        async with self._zoo.reading(self._path, headers, _SILENCE_SECONDS) as pieces:
            async for piece in pieces:
                self._answered = time.monotonic()
                for told in _read(decoder, piece):
                    yield told
        raise UpstreamFailed("The events broke off before their end.")


def _read(decoder: SSEDecoder, piece: bytes) -> Iterator[RunEvent]:
    """Yield the events that `piece` completes; those that a newer server has are passed over."""
    try:
        for data in decoder.feed(piece):
            if decoder.event == b"error":
                raise UpstreamFailed("The events broke off with an error.")
            if decoder.event in _KNOWN:
                yield _event(decoder, data)
    except (ValueError, ValidationError) as fault:
        raise MalformedAnswer("The answer is no stream of a run's events.") from fault


def _event(decoder: SSEDecoder, data: bytes) -> RunEvent:
    told: object = orjson.loads(data)
    return RunEvent.model_validate(
        {
            "id": decoder.last_event_id.decode("ascii"),
            "event": decoder.event.decode(),
            "data": told if isinstance(told, dict) else {},
        }
    )
