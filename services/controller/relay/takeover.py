"""Taking over an answer that another controller began, whose client has come back to this one.

Owns the search for the worker that has it: the one that the client's last event names, else any
other of the model's. Needs neither Redis nor the other controller.
"""

from __future__ import annotations

from collections.abc import Iterator

import structlog

from services.controller.fleet.member import Member
from services.controller.fleet.roster import Roster
from services.controller.flow.admission import Admission
from services.controller.relay.aborts import Aborts
from services.controller.relay.call import Call
from services.controller.relay.errand import Errand, Errands
from services.controller.relay.exchange import Exchange
from services.controller.relay.move_metrics import MoveMetrics
from services.controller.relay.refusal import Refused
from services.controller.relay.running_answer import RunningAnswer
from services.controller.upstream.pool import UpstreamPool
from shared.errors import LLMZooError, NotFound, Unavailable
from shared.protocol.event_id import EventId

log = structlog.get_logger(__name__)

_NOT_FOUND = 404


class Takeover:
    """Attaches calls to answers that workers hold."""

    def __init__(
        self,
        roster: Roster,
        admission: Admission,
        pool: UpstreamPool,
        aborts: Aborts,
        errands: Errands,
        *,
        metrics: MoveMetrics,
    ) -> None:
        """Work on these."""
        self._roster = roster
        self._admission = admission
        self._pool = pool
        self._aborts = aborts
        self._errands = errands
        self._metrics = metrics

    async def open(self, call: Call, event: EventId) -> RunningAnswer:
        """Return the answer, to go on behind `event`; the caller closes it.

        Raises:
            NotFound: no worker has it, or not for this key.
            Unavailable: who may have it could not be asked, or no worker is known yet.
            Refused: the request is not the one that it answers.
        """
        if self._roster.snapshot_at is None:
            msg = "This controller does not know the fleet yet."
            raise Unavailable(msg, retry_after=1.0)
        errand = self._errands.attached(call, event.answer, event.number)
        unheard = False
        for member in self._candidates(call.model, event.worker):
            try:
                answer = await self._attach(call, member, errand, event.number)
            except LLMZooError as fault:
                log.info("worker not asked for an answer", worker=member.id, fault=fault.message)
                unheard = True
                continue
            if answer is not None:
                self._metrics.reattached.labels("client").inc()
                log.info(
                    "answer taken over",
                    request_id=call.id,
                    answer=event.answer,
                    worker=member.id,
                    tokens=answer.ledger.total,
                )
                return answer
        if unheard:
            msg = f"A worker that may have the answer '{event.answer}' could not be asked."
            raise Unavailable(msg, retry_after=1.0)
        msg = f"The answer '{event.answer}' is not there any more."
        raise NotFound(msg, code="answer_not_found", param="Last-Event-ID")

    def _candidates(self, model: str, named: str) -> Iterator[Member]:
        """Yield who may have it, the likeliest first; a worker that drains has its answers still."""
        members = self._roster.members()
        yield from (m for m in members if m.id == named and m.record.kind == "worker")
        yield from (m for m in self._roster.ready(model) if m.id != named)

    async def _attach(
        self, call: Call, member: Member, errand: Errand, number: int
    ) -> RunningAnswer | None:
        """Return the answer, None if the worker does not have it; where it fails it may."""
        exchange = Exchange(self._admission.lease(member, call), self._pool, self._aborts)
        try:
            start = await exchange.open(errand)
            return RunningAnswer(call, exchange, start, await exchange.ledger(number))
        except Refused as answered:
            exchange.leave()
            if answered.status != _NOT_FOUND:
                raise
            return None
        except BaseException:
            exchange.leave()
            raise
