"""Letting an answer go on whose worker does not.

Owns the order of what is tried: the same worker over a new connection, then another one that is
alike, then any of the model; and the bounds of it: attempts, age, length, a budget over all that
this controller answers. The client sees one answer, or one error that says why it ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Set as AbstractSet

import structlog

from services.controller.fleet.roster import Roster
from services.controller.relay.deadline import deadline_exceeded
from services.controller.relay.dispatch import Dispatcher
from services.controller.relay.errand import Errand, Errands
from services.controller.relay.exchange import Exchange
from services.controller.relay.loss import Cause, MoveAsked, cause_of
from services.controller.relay.move_budget import MoveBudget
from services.controller.relay.move_metrics import MoveMetrics
from services.controller.relay.refusal import Refused
from services.controller.relay.running_answer import RunningAnswer
from services.controller.relay.running_answers import RunningAnswers
from shared.errors import (
    DeadlineExceeded,
    LLMZooError,
    ModelNotFound,
    Overloaded,
    ServiceError,
    UpstreamFailed,
)
from shared.protocol.frames import StartFrame
from shared.settings import ControllerSettings

log = structlog.get_logger(__name__)

REATTACH_SECONDS = 0.25
MOST_REATTACHMENTS = 2
"""In a row, without a token between them."""

MOST_ENGINE_FAULTS = 1
"""Of one answer: its request may be what harms the engines."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
_MOST_REFUSALS = 3
_MEANT = frozenset({Cause.OPERATOR, Cause.HANDED_BACK})
"""Causes that are no sign of a request that harms its workers, and of no dying fleet."""

_NOBODY: AbstractSet[str] = frozenset()


class _TooMuch(ServiceError):
    """A bound is reached; the code says which."""


class Mover:
    """Moves answers."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        errands: Errands,
        roster: Roster,
        running: RunningAnswers,
        *,
        settings: ControllerSettings,
        metrics: MoveMetrics,
    ) -> None:
        """Work on these."""
        self._dispatcher = dispatcher
        self._errands = errands
        self._roster = roster
        self._running = running
        self._settings = settings
        self._metrics = metrics
        self._budget = MoveBudget()

    async def move(self, answer: RunningAnswer, fault: LLMZooError) -> None:
        """Return when there is more to take of an answer whose worker failed with `fault`.

        Raises:
            UpstreamFailed: it cannot go on, and why. DeadlineExceeded: its time is over.
            Otherwise `fault`, if it is none of a worker's.
        """
        cause = cause_of(fault)
        if cause is None:
            raise fault
        if isinstance(fault, MoveAsked):
            await self._move_as_asked(answer, fault.param or "")
            return
        if cause is Cause.DIFFERS and answer.call.stream:
            raise fault  # what was sent cannot be taken back
        answer.note_loss()
        if cause is Cause.CONNECTION and await self._reattach(answer):
            return
        try:
            self._check(answer, cause)
            await self._go_elsewhere(answer, cause)
        except LLMZooError as refusal:
            self._give_up(answer, cause, fault, refusal)

    async def _reattach(self, answer: RunningAnswer) -> bool:
        """Return whether the answer goes on at its own worker: the connection alone was lost."""
        if answer.reattachments >= MOST_REATTACHMENTS:
            return False
        answer.reattachments += 1
        number = answer.ledger.last_sequence_number
        try:
            async with asyncio.timeout(REATTACH_SECONDS):
                errand = self._errands.attached(answer.call, answer.start.id, number)
                await answer.exchange.open_again(errand)
                await answer.exchange.ledger(number)
        except (LLMZooError, Refused, TimeoutError):
            return False
        self._metrics.reattached.labels("connection").inc()
        log.info("answer reattached", **_facts(answer), worker=answer.exchange.worker.id)
        answer.go_on(answer.exchange, self._metrics.stall.observe)
        return True

    def _check(self, answer: RunningAnswer, cause: Cause) -> None:
        """Raise if the answer, or the fleet, has been through too much."""
        settings, now = self._settings, time.monotonic()
        if cause not in _MEANT:
            answer.losses[cause] += 1
            losses = answer.losses.total()
            if losses > settings.move_attempts or (
                answer.losses[Cause.ENGINE_FAULT] > MOST_ENGINE_FAULTS
            ):
                msg = f"It has lost its worker {losses} times."
                raise _TooMuch(msg, code="attempts")
            if not self._budget.spend(len(self._running), now):
                msg = "Too many answers have lost their workers in a short time."
                raise _TooMuch(msg, code="budget")
        if now - answer.call.arrived > settings.move_age:
            msg = f"It began more than {settings.move_age:g} seconds ago."
            raise _TooMuch(msg, code="age")
        if answer.ledger.total > settings.move_tokens:
            msg = f"It has more than {settings.move_tokens} tokens."
            raise _TooMuch(msg, code="length")

    async def _go_elsewhere(self, answer: RunningAnswer, cause: Cause) -> None:
        """Resume at another worker, and wait for one as long as the settings allow.

        A whole answer, of which nothing was sent, may begin anew where it cannot be resumed: its
        logprobs do not travel with its tokens, and these came out otherwise when they were
        computed again.
        """
        call, lost = answer.call, answer.exchange.worker
        answer.exchange.close()
        if anew := cause is Cause.DIFFERS:
            answer.forget()
        give_up_at = min(call.deadline, time.monotonic() + self._settings.move_timeout)
        answer.left.add(lost.incarnation)
        avoided = self._unlike(answer, answer.left)
        # Who is alike is not waited for where others go on as well.
        waits = answer.start.deterministic or avoided <= answer.left
        pause, refused = _FIRST_PAUSE, list[str]()
        while True:
            errand = self._errand(answer, anew=anew)
            patience = max(0.0, give_up_at - time.monotonic()) if waits else 0.0
            try:
                exchange, start = await self._dispatcher.open(
                    call, errand, avoided, patience=patience
                )
                break
            except DeadlineExceeded:
                raise
            except (ServiceError, Overloaded, ModelNotFound) as fault:
                refusal: LLMZooError = fault
            except Refused as answered:
                refusal = _refusal(answered)
                refused.append(answered.worker)
            late = time.monotonic() + pause >= give_up_at
            if late or len(refused) == _MOST_REFUSALS:
                raise deadline_exceeded() if late and give_up_at == call.deadline else refusal
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            # Who is the only one may be back, or may never have been away.
            avoided = self._unlike(answer, _NOBODY) if answer.start.deterministic else _NOBODY
            avoided = self._without(call.model, avoided, set(refused))
            waits = True
        if anew:
            answer.start = start
        self._went_on(answer, cause, exchange, start)

    async def _move_as_asked(self, answer: RunningAnswer, target: str) -> None:
        """Resume at another worker; where that cannot be, the answer stays where it is."""
        here = answer.exchange.worker.incarnation
        ready = self._roster.ready(answer.call.model)
        avoided = {m.incarnation for m in ready if m.id != target} if target else {here}
        errand = self._errand(answer)
        try:
            exchange, start = await self._dispatcher.open(
                answer.call, errand, avoided, patience=0.0
            )
        except LLMZooError as refusal:
            answer.stay(refusal)
        except Refused as answered:
            answer.stay(_refusal(answered))
        else:
            answer.note_loss()
            self._went_on(answer, Cause.OPERATOR, exchange, start)

    def _errand(self, answer: RunningAnswer, *, anew: bool = False) -> Errand:
        """Return what the next worker is sent, under an id of its own."""
        answer.resumptions += 1
        if anew:
            return self._errands.again(answer.call, answer.resumptions)
        return self._errands.resumed(answer.call, answer.start, answer.ledger, answer.resumptions)

    def _unlike(self, answer: RunningAnswer, left: AbstractSet[str]) -> AbstractSet[str]:
        """Return whom the answer must not go to, or need not: who is not like its first worker."""
        model = answer.call.model
        ready, now = self._roster.ready(model), time.monotonic()
        like = {
            member.incarnation
            for member in ready
            if member.fingerprint(model) == answer.start.fingerprint and member.breaker.allows(now)
        }
        like -= left
        if like or answer.start.deterministic:
            return {member.incarnation for member in ready} - like
        return left

    def _without(
        self, model: str, avoided: AbstractSet[str], refused: AbstractSet[str]
    ) -> AbstractSet[str]:
        """Return whom to avoid: those who refused as well, as long as there are others."""
        others = {member.incarnation for member in self._roster.ready(model)} - avoided - refused
        return avoided | refused if others else avoided

    def _went_on(
        self, answer: RunningAnswer, cause: Cause, exchange: Exchange, start: StartFrame
    ) -> None:
        exact = start.fingerprint == answer.start.fingerprint
        self._metrics.moved.labels(cause, "exact" if exact else "inexact").inc()
        log.info(
            "answer moved",
            **_facts(answer),
            cause=cause,
            exact=exact,
            worker=exchange.worker.id,
            before=answer.exchange.worker.id,
        )
        answer.go_on(exchange, self._metrics.stall.observe, exact=exact)

    def _give_up(
        self, answer: RunningAnswer, cause: Cause, fault: LLMZooError, refusal: LLMZooError
    ) -> None:
        """Raise what the client is told."""
        late = isinstance(refusal, DeadlineExceeded)
        reason = "deadline" if late else "no_worker"
        if isinstance(refusal, _TooMuch):
            reason = refusal.code or ""
        self._metrics.failed.labels(cause, reason).inc()
        log.warning(
            "answer could not be moved",
            **_facts(answer),
            cause=cause,
            reason=reason,
            before=answer.exchange.worker.id,
            fault=refusal.message,
        )
        if late:
            raise refusal
        msg = f"{fault.message} The answer could not go on elsewhere: {refusal.message}"
        raise UpstreamFailed(msg, code=fault.code) from refusal


def _facts(answer: RunningAnswer) -> dict[str, object]:
    return {
        "request_id": answer.call.id,
        "answer": answer.start.id,
        "tokens": answer.ledger.total,
    }


def _refusal(answered: Refused) -> UpstreamFailed:
    return UpstreamFailed(f"A worker refused to go on with it ({answered.status}).")
