"""Graders that need no model: `string_check` and `text_similarity`."""

from __future__ import annotations

from typing import Any

from services.evaluator.judging.assessment import Form, ReviewTask
from services.evaluator.judging.faults import Fault
from services.evaluator.judging.graders.similarity import similarity
from services.evaluator.judging.graders.templates import rendered, values_of
from services.evaluator.judging.json_reply import Unreadable
from shared.errors import InvalidSpec
from shared.protocol.evals.item import Verdict
from shared.protocol.evals.spec import Grader


class RuleAssessment:
    """One text compared with another."""

    forms: tuple[Form, ...] = ()

    def __init__(self, grader: Grader, task: ReviewTask) -> None:
        """Take the grader and the answer."""
        self._grader = grader
        self._task = task

    def local(self) -> Verdict:
        """Return the verdict; undecoded if a placeholder names what is not there."""
        values = values_of(self._task)
        template = self._grader.input
        try:
            text = rendered(template if isinstance(template, str) else "", values)
            reference = rendered(self._grader.reference or "", values)
        except Unreadable as unreadable:
            return Verdict(rule=unreadable.fault)
        if self._grader.type == "string_check":
            passed = checked(self._grader.operation, text, reference)
            return _graded(float(passed), passed, "string_check")
        score = similarity(self._grader.evaluation_metric or "", text, reference)
        return _graded(score, reaches(score, self._grader.pass_threshold), "text_similarity")

    def request(self, form: Form) -> dict[str, Any]:
        """Refuse: no call is needed."""
        raise _no_call(form)

    def read(self, form: Form, reply: str, logprobs: list[Any] | None) -> Verdict:
        """Return no verdict: there is no reply."""
        del form, reply, logprobs
        return Verdict(rule=Fault.UNREADABLE)

    def again(self, form: Form, reply: str, verdict: Verdict) -> dict[str, Any]:
        """Refuse: no call is needed."""
        del reply, verdict
        raise _no_call(form)


def checked(operation: str | None, text: str, reference: str) -> bool:
    """Return whether `text` passes OpenAI's operations: `like` and `ilike` look for a part.

    Raises:
        InvalidSpec: there is no such operation.
    """
    match operation:
        case "eq":
            return text == reference
        case "ne":
            return text != reference
        case "like":
            return reference in text
        case "ilike":
            return reference.casefold() in text.casefold()
        case _:
            raise InvalidSpec([("/operation", "The operation is eq, ne, like or ilike.")])


def reaches(score: float, threshold: float | None) -> bool | None:
    """Return whether a score passes; None where no threshold was given."""
    return None if threshold is None else score >= threshold


def _graded(score: float, passed: bool | None, rule: str) -> Verdict:
    return Verdict(scores=[score], ranks=[1], passed=passed, rule=rule)


def _no_call(form: Form) -> InvalidSpec:
    return InvalidSpec([("/type", f"A grader by rule asks nothing, also not as {form.value}.")])
