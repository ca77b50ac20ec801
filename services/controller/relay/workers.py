"""The fleet's own workers as a backend.

Owns the life of one call on them: an id of its own, the dispatch, the relay, and the counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TypeVar

from starlette.types import Send

from services.controller.metrics import ControllerMetrics, Meter
from services.controller.relay.answer import Answer, Headers, refusal, send_answer
from services.controller.relay.backend import Settle
from services.controller.relay.call import Call
from services.controller.relay.dispatch import Dispatcher
from services.controller.relay.exchange import Exchange, Refused
from services.controller.relay.forward import relay_stream, whole_answer

AnswerT = TypeVar("AnswerT")


class Workers:
    """Answers calls of the models that workers serve."""

    paid = False

    def __init__(self, dispatcher: Dispatcher, metrics: ControllerMetrics) -> None:
        """Send calls where `dispatcher` says."""
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._ids = _Ids()

    async def complete(self, call: Call, settle: Settle) -> Answer:
        """Return the whole answer; see `Backend`."""
        try:
            return await self._run(call, settle, whole_answer)
        except Refused as answer:
            return refusal(answer.status, answer.body, answer.retry_after)

    async def stream(self, call: Call, settle: Settle, send: Send, told: Headers) -> None:
        """Send the answer as it comes; see `Backend`."""
        try:
            await self._run(call, settle, partial(relay_stream, send, told))
        except Refused as answer:
            await send_answer(send, refusal(answer.status, answer.body, answer.retry_after), told)

    async def _run(
        self, call: Call, settle: Settle, relay: Callable[[Exchange, Meter], Awaitable[AnswerT]]
    ) -> AnswerT:
        """Return what `relay` makes of an exchange with a worker that has admitted the call."""
        call_id = self._ids.claim(call.id)
        phase = "waiting"
        try:
            own = call if call_id == call.id else replace(call, id=call_id)
            exchange, start = await self._dispatcher.open(own)
            phase = "answering"
            meter = Meter(self._metrics.model(call.model), call.arrived)
            meter.prompt(start.prompt_tokens)
            try:
                return await relay(exchange, meter)
            finally:
                exchange.close()
                settle(start.prompt_tokens + exchange.ledger.total)
                call.trace.used(start.prompt_tokens, exchange.ledger.total)
        except Refused:
            settle(0)
            raise
        except asyncio.CancelledError:
            self._metrics.cancellations.labels(phase).inc()
            raise
        finally:
            self._ids.release(call_id)


class _Ids:
    """The ids under which calls run on workers.

    It is the request's own, so that the logs of both agree, unless a client uses one id for
    several requests at once: an abort of one must not end the other.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._repeats = count(2)

    def claim(self, request_id: str) -> str:
        """Return an id that nobody else has until it is released."""
        call_id = request_id
        while call_id in self._taken:
            call_id = f"{request_id[:100]}-{next(self._repeats)}"
        self._taken.add(call_id)
        return call_id

    def release(self, call_id: str) -> None:
        """Give an id back."""
        self._taken.remove(call_id)
