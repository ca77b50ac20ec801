"""The fleet's own workers as a backend.

Owns the life of one call on them: an id of its own, how it begins, the relay, and the counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any, TypeVar

from starlette.types import Send

from services.controller.metrics import ControllerMetrics, Meter
from services.controller.relay.answer import Answer, Headers, refusal, send_answer
from services.controller.relay.backend import Settle
from services.controller.relay.call import Call
from services.controller.relay.dispatch import Dispatcher
from services.controller.relay.errand import Errands
from services.controller.relay.forward import relay_stream, whole_answer
from services.controller.relay.mover import Mover
from services.controller.relay.refusal import Refused
from services.controller.relay.running_answer import RunningAnswer
from services.controller.relay.running_answers import RunningAnswers
from services.controller.relay.takeover import Takeover
from shared.protocol.event_id import CONTINUED_HEADER

AnswerT = TypeVar("AnswerT")

CONTINUED: Headers = ((CONTINUED_HEADER, "1"),)
"""Of an answer that goes on behind the event that the client had last."""


class Workers:
    """Answers calls of the models that workers serve."""

    paid = False

    def __init__(
        self,
        dispatcher: Dispatcher,
        errands: Errands,
        takeover: Takeover,
        mover: Mover,
        running: RunningAnswers,
        *,
        metrics: ControllerMetrics,
    ) -> None:
        """Send calls where `dispatcher` says, and see that their answers do not break off."""
        self._dispatcher = dispatcher
        self._errands = errands
        self._takeover = takeover
        self._mover = mover
        self._running = running
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
        of_it = told if call.last_event is None else (*told, *CONTINUED)
        try:
            await self._run(call, settle, partial(relay_stream, send, of_it))
        except Refused as answer:
            await send_answer(send, refusal(answer.status, answer.body, answer.retry_after), told)

    async def _run(
        self,
        call: Call,
        settle: Settle,
        relay: Callable[[RunningAnswer, Mover, Meter], Coroutine[Any, Any, AnswerT]],
    ) -> AnswerT:
        """Return what `relay` makes of an answer that a worker gives."""
        call_id = self._ids.claim(call.id)
        phase = "waiting"
        try:
            own = call if call_id == call.id else replace(call, id=call_id)
            answer = await self._open(own)
            phase = "answering"
            meter = Meter(self._metrics.model(call.model), call.arrived)
            prompt_tokens, before = answer.start.prompt_tokens, answer.ledger.total
            if call.last_event is None:
                meter.prompt(prompt_tokens)
            else:
                meter.begun()
            self._running.add(answer)
            try:
                return await relay(answer, self._mover, meter)
            finally:
                self._running.remove(answer)
                answer.close()
                settle(prompt_tokens + answer.ledger.total)
                generated = answer.ledger.total - before
                call.trace.used(prompt_tokens, generated)
                call.facts["worker"] = answer.exchange.worker.id
                call.facts["tokens_in"], call.facts["tokens_out"] = prompt_tokens, generated
        except Refused:
            settle(0)
            raise
        except asyncio.CancelledError:
            self._metrics.cancellations.labels(phase).inc()
            raise
        finally:
            self._ids.release(call_id)

    async def _open(self, call: Call) -> RunningAnswer:
        """Return the answer once a worker has admitted the call, or has given it back."""
        if call.last_event is not None:
            return await self._takeover.open(call, call.last_event)
        exchange, start = await self._dispatcher.open(call, self._errands.first(call))
        return RunningAnswer(call, exchange, start)


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
