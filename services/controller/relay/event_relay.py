"""One answer's events, from the worker's connection to the client's.

Owns the way of each piece: frames are decoded, entered into the ledger and sent in the callback
that brings them, and no task is woken up for it. A client that is slow to take them is waited for
by the task, and no frame is taken meanwhile, so that the worker's side stops as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, cast

from starlette.types import Send

from services.controller.metrics import Meter
from services.controller.relay.exchange import Exchange, error_object
from services.controller.relay.first_step import begin
from shared.errors import LLMZooError
from shared.protocol import sse
from shared.protocol.frames import EndFrame, ErrorFrame, Frame, TokensFrame


class EventRelay:
    """Sends the events of one exchange, whose head is out."""

    def __init__(self, exchange: Exchange, meter: Meter, send: Send) -> None:
        """Pass on what `exchange` brings."""
        self._exchange = exchange
        self._meter = meter
        self._send = send
        self._more = True
        self._unsent: Awaitable[None] | None = None
        self._needed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Return when the last event was sent."""
        self._exchange.listen(self._flow)
        self._flow()
        while self._more or self._unsent is not None:
            if self._unsent is None:
                await self._needed
                self._needed = asyncio.get_running_loop().create_future()
            else:
                await self._unsent
                self._unsent = None
                self._flow()

    def _flow(self) -> None:
        """Send what has come, unless the client has yet to take what came before."""
        if self._unsent is not None or not self._more:
            return
        body = self._collect()
        # What arrived at once goes out at once.
        if body or not self._more:
            message = {"type": "http.response.body", "body": body, "more_body": self._more}
            self._unsent = begin(cast("Coroutine[Any, Any, None]", self._send(message)))
            if (self._unsent is not None or not self._more) and not self._needed.done():
                self._needed.set_result(None)

    def _collect(self) -> bytes:
        """Return the events that have come; a fault becomes the last one."""
        events: list[bytes] = []
        try:
            self._take(self._exchange.take(), events)
            # Behind good frames there may be the end of all.
            if self._exchange.broken and self._more:
                self._take(self._exchange.take(), events)
        except LLMZooError as fault:
            events.append(sse.event(fault.as_openai()))
            self._more = False
        return events[0] if len(events) == 1 else b"".join(events)

    def _take(self, frames: list[Frame], events: list[bytes]) -> None:
        for frame in frames:
            if type(frame) is TokensFrame:
                if self._exchange.record(frame):
                    self._meter.generated(len(frame.token_ids))
                    events.append(frame.data)
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
