"""Making one review: the judge is asked, read, and asked once more if it cannot be read.

Owns the order of the forms and what each judge's server is known to refuse. How a verdict is
asked for and read is the assessment's.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from services.evaluator.jobs.asking import Calls, Reply
from services.evaluator.jobs.budget import Reservation
from services.evaluator.jobs.records import Used, picodollars
from services.evaluator.judging.assessment import Assessment, Form
from services.evaluator.metrics import EvaluatorMetrics
from shared.errors import LLMZooError
from shared.protocol.evals.item import Verdict

_REFUSING = {400, 422}
_FORM_NAMES = ("response_format", "json_schema")
_KEPT = 1_000


@dataclass(slots=True)
class Judged:
    """What became of the calls of one review."""

    verdict: Verdict
    text: str | None = None
    model: str = ""
    model_version: str = ""
    used: Used = field(default_factory=Used)
    fault: LLMZooError | None = None
    """Why it could not be asked once more."""


class Reviewing:
    """Asks judges."""

    def __init__(self, calls: Calls, metrics: EvaluatorMetrics) -> None:
        """Ask over `calls`."""
        self._calls = calls
        self._metrics = metrics
        self._refused: OrderedDict[tuple[str, Form], None] = OrderedDict()

    async def review(self, assessment: Assessment, salt: str, reservation: Reservation) -> Judged:
        """Return the verdict. Raises LLMZooError if the judge cannot be asked; OutOfBudget."""
        if not assessment.forms:
            return Judged(assessment.local())
        form, body, reply = await self._first(assessment, salt, reservation)
        verdict = assessment.read(form, reply.text, reply.logprobs)
        judged = Judged(verdict, reply.text, body["model"], reply.model_version, used_by(reply))
        if verdict.decoded:
            return judged
        body = assessment.again(form, reply.text, verdict)
        if not await reservation.more(body):
            return judged
        try:
            reply = await self._ask(body, salt)
        except LLMZooError as fault:
            # The first reply stands: unreadable, and why there is no second one.
            judged.fault = fault
            return judged
        judged.verdict = assessment.read(form, reply.text, reply.logprobs)
        judged.text = reply.text
        judged.model_version = reply.model_version
        judged.used += used_by(reply)
        return judged

    async def _first(
        self, assessment: Assessment, salt: str, reservation: Reservation
    ) -> tuple[Form, dict[str, Any], Reply]:
        """Return the first reply, in the first form that the judge's server takes."""
        *early, last = assessment.forms
        begun = False
        for form in [*early, last]:
            body = assessment.request(form)
            known = (body["model"], form)
            if form is not last and known in self._refused:
                continue
            if not begun:
                await reservation.begin(body)
                begun = True
            try:
                return form, body, await self._ask(body, salt)
            except LLMZooError as fault:
                if form is last or not refuses_form(fault):
                    raise
                self._remember(known)
        raise AssertionError  # the last form returns or raises

    async def _ask(self, body: dict[str, Any], salt: str) -> Reply:
        try:
            reply = await self._calls.ask(body, salt=salt)
        except LLMZooError:
            self._metrics.judge_calls.labels("failed").inc()
            raise
        self._metrics.judge_calls.labels("ok").inc()
        if reply.seconds is not None:
            self._metrics.judge_call_seconds.observe(reply.seconds)
        return reply

    def _remember(self, refused: tuple[str, Form]) -> None:
        self._refused[refused] = None
        if len(self._refused) > _KEPT:
            self._refused.popitem(last=False)


def refuses_form(fault: LLMZooError) -> bool:
    """Return whether a server does not take the form in which it was asked."""
    if fault.status not in _REFUSING:
        return False
    told = f"{fault.param or ''} {fault.message}"
    nameless = fault.code == "unsupported_parameter" and not fault.param
    return nameless or any(name in told for name in _FORM_NAMES)


def used_by(reply: Reply) -> Used:
    """Return what one call used."""
    cost = picodollars(reply.cost_usd)
    return Used(1, reply.prompt_tokens, reply.completion_tokens, cost, reply.repeats)
