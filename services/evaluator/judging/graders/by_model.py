"""Graders that ask a model: `label_model` and `score_model`.

Owns how the user's own messages become a judge's request. What the templates show is material:
its markers are neutralised, and what a reply repeats of it is no verdict.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from services.evaluator.judging.assessment import Form, ReviewTask
from services.evaluator.judging.by_judge import AssessmentByJudge
from services.evaluator.judging.echoes import Echoes
from services.evaluator.judging.excerpts import MAX_ANSWER, excerpt
from services.evaluator.judging.graders.by_rule import reaches
from services.evaluator.judging.graders.templates import rendered, values_in, values_of
from services.evaluator.judging.kinds.kind import Kind
from services.evaluator.judging.kinds.label import Label
from services.evaluator.judging.kinds.scores import Scores
from services.evaluator.judging.markers import neutralised
from services.evaluator.judging.marks import marks_of
from services.evaluator.judging.own_words import Source
from services.evaluator.judging.requests import Messages, form_text, judge_request
from services.evaluator.judging.scales import grades_of
from services.evaluator.judging.wording import language_of, wording_in
from shared.protocol.evals.item import Verdict
from shared.protocol.evals.spec import Grader, Judge, Message


class ModelAssessment(AssessmentByJudge):
    """A model labels or scores one answer by the user's own prompt."""

    def __init__(self, grader: Grader, task: ReviewTask, judge: Judge) -> None:
        """Take the grader and the answer.

        Raises:
            Unreadable: a template names what is not there.
        """
        super().__init__(judge, wording_in(language_of(task.question.language)), grades_of(grader))
        self._grader = grader
        self._repeat = task.repeat
        values = values_of(task)
        told = _messages(grader)
        shown = [text for message in told for text in values_in(message.content, values)]
        self._shown = "\n".join(shown)
        self._marks = marks_of([*shown, *(message.content for message in told)])
        self._messages: Messages = [
            {"role": message.role, "content": rendered(message.content, values, self._bounded)}
            for message in told
        ]

    def request(self, form: Form) -> dict[str, Any]:
        """Return the body of the chat request that asks for the grade."""
        *before, last = self._messages or [{"role": "user", "content": ""}]
        told = self._form(form)
        if last["role"] == "user":
            messages = [*before, {"role": "user", "content": f"{last['content']}\n\n{told}"}]
        else:
            messages = [*before, last, {"role": "user", "content": told}]
        body = judge_request(self._judge, messages, form, self._kind, self._repeat)
        effort = (self._grader.sampling_params or {}).get("reasoning_effort")
        return body if effort is None else {**body, "reasoning_effort": effort}

    def read(self, form: Form, reply: str, logprobs: list[Any] | None) -> Verdict:
        """Return the grade, and whether it passes."""
        verdict = super().read(form, reply, logprobs)
        if verdict.scores is None:
            return verdict
        passed = reaches(verdict.scores[0], self._grader.pass_threshold)
        return verdict.model_copy(update={"passed": passed})

    @cached_property
    def _kind(self) -> Kind:
        grader = self._grader
        if grader.type == "label_model":
            return Label(tuple(grader.labels or ()), frozenset(grader.passing_labels or ()))
        return Scores(1, *self._scale)

    @cached_property
    def _source(self) -> Source:
        told = [message["content"] for message in self._messages]
        forms = "\n".join([*told, *(self._form(form) for form in Form)])
        # No lines are marked but those that tell of a gap.
        return Source(self._marks, Echoes(self._shown), "", forms, end="")

    def _form(self, form: Form) -> str:
        scale = ""
        if self._grader.type == "score_model":
            low, high = (f"{end:g}" for end in self._scale)
            scale = self._wording.scale.replace("{low}", low).replace("{high}", high) + "\n"
        return scale + form_text(self._kind, form, self._wording, self._marks.verdict)

    def _bounded(self, value: str) -> str:
        note = f"[{self._wording.cut} {self._marks.fence}]"
        return neutralised(excerpt(value, MAX_ANSWER, note))


def _messages(grader: Grader) -> list[Message]:
    if isinstance(grader.input, str):
        return [Message(role="user", content=grader.input)]
    return grader.input or []
