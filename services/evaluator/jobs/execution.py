"""Executing one unit: an answer asked for, or a review made, and what becomes of its failures.

Owns a unit's way from taken to its end. A unit that fails is errored with the reason, and the
run goes on. Holds no lease and writes nothing but reservations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import structlog

from services.evaluator.jobs import ends
from services.evaluator.jobs.asking import Assess, Calls, Conversation, Estimates
from services.evaluator.jobs.budget import OutOfBudget, Reservation
from services.evaluator.jobs.connection import StoreUnreachable
from services.evaluator.jobs.ends import End
from services.evaluator.jobs.given import given_verdict
from services.evaluator.jobs.plan import ReviewUnit
from services.evaluator.jobs.records import StoredAnswer, StoredResult, Used
from services.evaluator.jobs.reviewing import Judged, Reviewing, used_by
from services.evaluator.jobs.runs import usage_fields
from services.evaluator.jobs.scripts.work import POISON_AFTER
from services.evaluator.jobs.work import Unit, Work
from services.evaluator.judging.assessment import AnswerShown, ReviewTask
from services.evaluator.metrics import EvaluatorMetrics
from shared.errors import LLMZooError
from shared.protocol.evals.item import ItemError, ItemStatus

log = structlog.get_logger(__name__)

_MESSAGE_LENGTH = 500
_POISON = "An evaluator ended {count} times while it worked on this alone; it is not tried again."

_BETWEEN_TURNS = "The run ended between two turns of this answer; it goes on from there."

Stage = Literal["answer", "judge"]


class Execution:
    """Works on units, of any run."""

    def __init__(
        self,
        redis: Any,
        calls: Calls,
        estimates: Estimates,
        assess: Assess,
        metrics: EvaluatorMetrics,
    ) -> None:
        """Ask models over `calls`, judges as `assess` says."""
        self._redis = redis
        self._calls = calls
        self._estimates = estimates
        self._assess = assess
        self._metrics = metrics
        self._reviewing = Reviewing(calls, metrics)

    async def execute(self, work: Work, unit: Unit) -> End | None:
        """Return how a unit ended; None: it is back in the stream, there was no budget for it.

        Raises:
            StoreUnreachable: it needs what cannot be read or reserved now.
        """
        try:
            return await (self._answer if unit.kind == "a" else self._review)(work, unit)
        except OutOfBudget:
            return None
        except StoreUnreachable:
            raise
        except Exception as fault:
            # One unit must not end a run of a thousand, whatever a server answers. This is one
            # of the places with a broad except.
            self._metrics.faults.inc()
            log.exception("unit failed", run=work.run_id, unit=unit.name)
            error = _error(
                "answer" if unit.kind == "a" else "judge",
                LLMZooError(f"Internal error ({type(fault).__name__}).", code="internal"),
            )
            return self._errored(work, unit, error)

    async def _answer(self, work: Work, unit: Unit) -> End:
        place = work.plan.answer(unit.number)
        candidate, question = (
            work.plan.candidates[place.candidate],
            work.plan.questions[place.question],
        )
        if unit.died_alone >= POISON_AFTER:
            return self._errored(work, unit, _poison("answer", unit))
        before = await self._before(work, unit)
        talk = Conversation(candidate, question, work.run, before.turns)
        used, error, finish_reason, version = Used(), None, "", before.model_version
        seconds = before.seconds if before.turns else 0.0
        try:
            if candidate.model is None:
                msg = "No answer to this question was given."
                raise LLMZooError(msg, code="answer_missing")  # noqa: TRY301 - a failure as others
            reservation = Reservation(self._redis, self._estimates, work, unit)
            await reservation.begin(talk.rest(), talk.calls_left)
            while talk.calls_left:
                reply = await self._calls.ask(talk.request())
                used += used_by(reply)
                finish_reason, version = reply.finish_reason, reply.model_version
                seconds = _sum(seconds, reply.seconds)
                talk.heard(reply.text)
                if talk.calls_left and not await reservation.goes_on():
                    raise LLMZooError(_BETWEEN_TURNS, code="run_ended")  # noqa: TRY301 - as above
        except StoreUnreachable:
            raise
        except LLMZooError as fault:
            log.info("answer errored", run=work.run_id, unit=unit.name, code=fault.code)
            error = _error("answer", fault, candidate.name)
        answer = StoredAnswer(
            turns=tuple(talk.turns),
            finish_reason=finish_reason,
            usage=before.usage + used,
            error=error,
            model_version=version,
            seconds=seconds,
        )
        work.keep(unit.number, answer)
        return ends.answered(
            work.plan, unit, answer, usage_fields("answer", candidate.model or "", used)
        )

    async def _before(self, work: Work, unit: Unit) -> StoredAnswer:
        """Return the turns that were answered before an answer failed, of a resumed run."""
        if unit.round:
            found = await work.answers(self._redis, [unit.number])
            if unit.number in found:
                return found[unit.number]
        return StoredAnswer(())

    async def _review(self, work: Work, unit: Unit) -> End:
        plan = work.plan
        review = plan.review(unit.number)
        if unit.died_alone >= POISON_AFTER:
            return self._errored(work, unit, _poison("judge", unit))
        if work.run.reviews is None:
            numbers = [plan.answer_number(review.question, place) for place in review.lineup]
            answers = await work.answers(self._redis, numbers)
            if len(answers) < len(numbers):
                return ends.postponed(plan, unit)
            failed = next((each.error for each in answers.values() if each.error), None)
            if failed is not None:
                return self._errored(work, unit, failed)
        else:
            answers = work.given
        task = self._task(work, review, answers)
        assessment = self._assess(work.spec, review.dimension, task)
        if work.run.reviews is not None:
            told = work.run.reviews[plan.given_place(unit.number)]
            verdict = given_verdict(plan, review, told, assessment)
            return self._judged(unit, Judged(verdict, told.text))
        reservation = Reservation(self._redis, self._estimates, work, unit)
        try:
            judged = await self._reviewing.review(assessment, _salt(review, unit), reservation)
        except StoreUnreachable:
            raise
        except LLMZooError as fault:
            log.info("review errored", run=work.run_id, unit=unit.name, code=fault.code)
            return self._errored(work, unit, _error("judge", fault))
        return self._judged(unit, judged)

    @staticmethod
    def _task(work: Work, review: ReviewUnit, answers: Mapping[int, StoredAnswer]) -> ReviewTask:
        plan = work.plan
        shown = tuple(
            AnswerShown(
                candidate=plan.candidates[place].name,
                turns=found.turns if (found := answers.get(number)) else (),
            )
            for place in review.lineup
            for number in [plan.answer_number(review.question, place)]
        )
        by_judge = review.dimension < len(work.spec.dimensions)
        return ReviewTask(
            mode=work.spec.mode,
            question=plan.questions[review.question],
            answers=shown,
            repeat=review.repeat,
            judge=plan.judges[review.judge] if by_judge else None,
            with_references=work.spec.reference,
            given=plan.given,
        )

    def _judged(self, unit: Unit, judged: Judged) -> End:
        verdict = judged.verdict
        status = ItemStatus.JUDGED if verdict.decoded else ItemStatus.UNDECODED
        self._metrics.items.labels(status.value).inc()
        result = StoredResult(
            status=status,
            verdict=verdict,
            judge_text=judged.text,
            error=judged.fault and _error("judge", judged.fault),
            usage=judged.used,
            model_version=judged.model_version,
        )
        return ends.reviewed(unit, result, usage_fields("judge", judged.model, judged.used))

    def _errored(self, work: Work, unit: Unit, error: ItemError) -> End:
        if unit.kind == "a":
            return ends.answered(work.plan, unit, StoredAnswer((), error=error), [])
        self._metrics.items.labels(ItemStatus.ERRORED.value).inc()
        result = StoredResult(status=ItemStatus.ERRORED, error=error)
        return ends.reviewed(unit, result, [])


def _salt(review: ReviewUnit, unit: Unit) -> str:
    """Return what tells this call from another one with the same content."""
    repeat = f"repeat {review.repeat}" if review.repeat else ""
    again = f"again {unit.salt}" if unit.salt else ""
    return " ".join(filter(None, (repeat, again)))


def _sum(seconds: float | None, more: float | None) -> float | None:
    return None if seconds is None or more is None else seconds + more


def _error(stage: Stage, fault: LLMZooError, candidate: str | None = None) -> ItemError:
    return ItemError(
        stage=stage,
        message=fault.message[:_MESSAGE_LENGTH],
        code=fault.code,
        status=fault.status,
        candidate=candidate,
    )


def _poison(stage: Stage, unit: Unit) -> ItemError:
    message = _POISON.format(count=unit.died_alone)
    return ItemError(stage=stage, message=message, code="poison", status=500)
