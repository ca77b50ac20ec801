"""One answer's events, from the worker's connection to the client's.

Owns the way of each piece: frames are decoded, entered into the ledger and sent in the callback
that brings them, and no task is woken up for it. A client that is slow to take them is waited for
by the task, and no frame is taken meanwhile, so that the worker's side stops as well. So is a new
worker, where the one that is there goes no further.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, cast

from starlette.types import Send

from services.controller.metrics import Meter
from services.controller.relay.first_step import begin
from services.controller.relay.mover import Mover
from services.controller.relay.refusal import error_object
from services.controller.relay.running_answer import RunningAnswer
from shared.errors import LLMZooError
from shared.protocol import sse
from shared.protocol.frames import EndFrame, ErrorFrame, Frame, KeepaliveFrame, TokensFrame

KEEPALIVE = b": keepalive\n\n"
BEATS = 15
"""Of a worker, one a second while no token comes; so often the client is told that it lives."""

INEXACT = b": continued by a worker of another kind\n\n"
"""A comment of the stream, where its words may be others than they would have been."""


class EventRelay:
    """Sends the events of one answer, whose head is out."""

    def __init__(self, answer: RunningAnswer, mover: Mover, meter: Meter, send: Send) -> None:
        """Pass on what `answer` brings."""
        self._answer = answer
        self._mover = mover
        self._meter = meter
        self._send = send
        self._more = True
        self._beats = 0
        self._lost: LLMZooError | None = None
        self._unsent: Awaitable[None] | None = None
        self._needed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Return when the last event was sent."""
        self._answer.listen(self._flow)
        self._flow()
        while self._more or self._unsent is not None:
            if self._unsent is not None:
                await self._unsent
                self._unsent = None
                self._flow()
            elif self._lost is not None:
                await self._move(self._lost)
            else:
                await self._needed
                self._needed = asyncio.get_running_loop().create_future()

    def _flow(self) -> None:
        """Send what has come, unless the client has yet to take what came before."""
        if self._unsent is not None or self._lost is not None or not self._more:
            return
        # What arrived at once goes out at once.
        self._pass_on(self._collect())
        waited_for = self._unsent is not None or self._lost is not None or not self._more
        if waited_for and not self._needed.done():
            self._needed.set_result(None)

    def _pass_on(self, body: bytes) -> None:
        """Begin to send; what has to wait is waited for by the task."""
        if body or not self._more:
            message = {"type": "http.response.body", "body": body, "more_body": self._more}
            self._unsent = begin(cast("Coroutine[Any, Any, None]", self._send(message)))

    async def _move(self, lost: LLMZooError) -> None:
        """Let the answer go on elsewhere; why it cannot becomes the last event, without [DONE]."""
        exact = self._answer.exact
        try:
            await self._mover.move(self._answer, lost)
        except LLMZooError as fault:
            self._more = False
            self._pass_on(sse.event(fault.as_openai()))
        else:
            if exact is not self._answer.exact:
                self._pass_on(INEXACT)
        finally:
            self._lost = None
        self._flow()

    def _collect(self) -> bytes:
        """Return the events that have come, and note the fault behind them."""
        events: list[bytes] = []
        try:
            self._take(self._answer.take(), events)
            # Behind good frames there may be the end of all.
            while self._answer.broken and self._more:
                self._take(self._answer.take(), events)
        except LLMZooError as fault:
            self._lost = fault
        return events[0] if len(events) == 1 else b"".join(events)

    def _take(self, frames: list[Frame], events: list[bytes]) -> None:
        for frame in frames:
            if type(frame) is TokensFrame:
                if self._answer.record(frame):
                    self._beats = 0
                    self._meter.generated(len(frame.token_ids))
                    events.append(frame.data)
            elif type(frame) is KeepaliveFrame:
                self._beats += 1
                if self._beats % BEATS == 0:
                    events.append(KEEPALIVE)
            elif (last := self._last(frame)) is not None:
                events.append(last)
                self._more = False
                return

    def _last(self, frame: Frame) -> bytes | None:
        """Return the event that ends the answer; None: the frame does not."""
        match frame:
            case EndFrame():
                self._meter.finished()
                return frame.data
            case ErrorFrame():
                return sse.event(error_object(frame))
            case _:
                return None
