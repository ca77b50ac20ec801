"""One answer in the making: the upstream stream, paced for a page, stoppable at any time.

Owns the request to the controller from its start to its end, whatever that is. Text comes
out as the whole answer so far, at most 25 times a second, since each update costs the page
the whole history. Knows nothing of conversations, sessions or Gradio.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from services.webui.metrics import WebuiMetrics
from shared.client import APIError, ZooClient
from shared.errors import LLMZooError
from shared.http.request_id import new_request_id

UPDATE_SECONDS = 0.04

Finish = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an answer ended. Times are wall-clock, for the log."""

    text: str
    finish: Finish
    request_id: str
    fault: LLMZooError | None
    start: datetime
    end: datetime


class Turn:
    """Asks for one answer. Iterate `texts` once, then read `outcome`."""

    def __init__(self, client: ZooClient, body: dict[str, Any], metrics: WebuiMetrics) -> None:
        """Prepare; nothing is sent before `texts` is iterated."""
        self._client = client
        self._body = body
        self._metrics = metrics
        self._changed = asyncio.Event()
        self._upstream: asyncio.Task[None] | None = None
        self._stopped = False
        self._reconnecting = False
        self._pieces: list[str] = []
        self._finish: Finish = "cancelled"
        # Its own, so that it is known also where nobody answers.
        self._request_id = new_request_id()
        self._fault: LLMZooError | None = None
        self._start = self._end = datetime.now(UTC)

    def stop(self) -> None:
        """End the answer now; what has come stays. May be called at any time, repeatedly."""
        if self._stopped:
            # A second cancellation would break off the first one's closing of the connection,
            # which httpcore does not take up again: the worker would go on writing.
            return
        self._stopped = True
        self._changed.set()
        if self._upstream is not None:
            self._upstream.cancel()

    @property
    def reconnecting(self) -> bool:
        """Return whether the answer's connection is lost and has been sought for a while."""
        return self._reconnecting

    @property
    def outcome(self) -> Outcome:
        """Return how the answer ended; meaningful once `texts` has ended."""
        return Outcome(
            "".join(self._pieces),
            self._finish,
            self._request_id,
            self._fault,
            self._start,
            self._end,
        )

    async def texts(self) -> AsyncGenerator[str]:
        """Yield the answer so far when it grew or is `reconnecting`; closing closes the request.

        What came after the last yield is in `outcome`.
        """
        self._start = datetime.now(UTC)
        self._upstream = asyncio.create_task(self._receive(), name="answer")
        if self._stopped:
            self._upstream.cancel()
        try:
            while not self._stopped and not self._upstream.done():
                await self._changed.wait()
                self._changed.clear()
                if self._pieces or self._reconnecting:
                    yield "".join(self._pieces)
                await asyncio.sleep(UPDATE_SECONDS)
        finally:
            self.stop()
            await asyncio.wait([self._upstream])  # passes no cancellation on, see `stop`
            self._end = datetime.now(UTC)
            self._count()
            if not self._upstream.cancelled():
                self._upstream.result()

    async def _receive(self) -> None:
        sent = time.monotonic()
        try:
            asked = self._client.stream_chat(self._body, self._request_id)
            async with aclosing(asked) as deltas:
                async for delta in deltas:
                    self._request_id = delta.request_id or self._request_id
                    if delta.reconnecting != self._reconnecting:
                        self._reconnecting = delta.reconnecting
                        self._changed.set()
                    if delta.text:
                        if not self._pieces:
                            self._metrics.time_to_first_token.observe(time.monotonic() - sent)
                        self._pieces.append(delta.text)
                        self._changed.set()
                    if delta.finish_reason:
                        self._finish = "length" if delta.finish_reason == "length" else "stop"
            if self._finish == "cancelled":
                self._finish = "stop"  # the stream ended in order but named no reason
        except LLMZooError as fault:
            self._finish = "error"
            self._fault = fault
            if isinstance(fault, APIError):
                self._request_id = fault.request_id or self._request_id
        finally:
            self._changed.set()

    def _count(self) -> None:
        self._metrics.requests.labels(self._finish).inc()
        if self._fault is not None:
            self._metrics.count_error(self._fault)
