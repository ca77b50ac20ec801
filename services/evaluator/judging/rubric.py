"""One review by a judge in one dimension: the prompt, and what the reply means.

Owns the order in which a judge is told things. Sends nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from services.evaluator.judging.assessment import Form, ReviewTask
from services.evaluator.judging.by_judge import AssessmentByJudge
from services.evaluator.judging.dimensions import Dimension
from services.evaluator.judging.echoes import Echoes
from services.evaluator.judging.kinds.kind import Kind
from services.evaluator.judging.kinds.order import Order
from services.evaluator.judging.kinds.pair import Pair
from services.evaluator.judging.kinds.scores import Scores
from services.evaluator.judging.own_words import Source
from services.evaluator.judging.prompt_parts import Material, material_of
from services.evaluator.judging.requests import form_text, judge_request
from services.evaluator.judging.scales import Scale, scale_of
from services.evaluator.judging.wording import Language, Wording, language_of, wording_in
from shared.protocol.evals.spec import Judge, Mode, Rubric


@dataclass(frozen=True, slots=True)
class Criteria:
    """What a judge looks at in one language, and the scale of scores."""

    text: str
    anchors: str | None
    scale: Scale


def criteria_of(dimension: Dimension | Rubric, language: Language, scale: Scale) -> Criteria:
    """Return a dimension, built in or the user's own, as a judge is told of it."""
    if isinstance(dimension, Rubric):
        return Criteria(dimension.criteria.strip(), None, scale)
    return Criteria(dimension.criteria[language], dimension.anchors[language], scale)


class RubricAssessment(AssessmentByJudge):
    """A judge orders or scores the answers of a line-up."""

    def __init__(self, task: ReviewTask, judge: Judge, dimension: Dimension | Rubric) -> None:
        """Take the review; nothing is computed before it is asked for."""
        self._language = language_of(task.question.language)
        scale = scale_of(dimension, given=task.given)
        super().__init__(judge, wording_in(self._language), scale)
        self._task = task
        self._criteria = criteria_of(dimension, self._language, scale)

    def request(self, form: Form) -> dict[str, Any]:
        """Return the body of the chat request that asks for the verdict."""
        user = "\n\n".join(
            [*self._instructions, self._fences, self._material.shown, self._form(form)]
        )
        messages = [
            {"role": "system", "content": self._wording.system},
            {"role": "user", "content": user},
        ]
        return judge_request(self._judge, messages, form, self._kind, self._task.repeat)

    @cached_property
    def _kind(self) -> Kind:
        answers = len(self._task.answers)
        match self._task.mode:
            case Mode.ORDERING:
                return Order(answers)
            case Mode.SCORING:
                return Scores(answers, *self._scale)
            case Mode.PAIRWISE:
                return Pair()

    @cached_property
    def _material(self) -> Material:
        return material_of(self._task, self._wording)

    @property
    def _instructions(self) -> tuple[str, ...]:
        task = self._task
        return _instructions(self._language, self._criteria, task.mode, len(task.answers))

    @property
    def _fences(self) -> str:
        return self._wording.material.replace("{mark}", self._material.marks.fence)

    @cached_property
    def _source(self) -> Source:
        return Source(
            self._material.marks,
            Echoes(self._material.unfenced),
            "\n".join(self._instructions),
            "\n".join([self._fences, *(self._form(form) for form in Form)]),
            self._wording.end.replace("{what}", "").strip(" :\uff1a"),
        )

    def _form(self, form: Form) -> str:
        return form_text(self._kind, form, self._wording, self._material.marks.verdict)


# The same in all reviews of a dimension.
@lru_cache(maxsize=64)
def _instructions(
    language: Language, criteria: Criteria, mode: Mode, answers: int
) -> tuple[str, ...]:
    wording = wording_in(language)
    parts = [_duty(wording, mode, answers), criteria.text]
    if mode is Mode.SCORING:
        low, high = (f"{end:g}" for end in criteria.scale)
        parts.append(wording.scale.replace("{low}", low).replace("{high}", high))
        parts += [criteria.anchors] if criteria.anchors else []
    rules = [wording.fairness] if mode is Mode.SCORING else [wording.fairness, wording.ties]
    return (*parts, "\n".join(rules))


def _duty(wording: Wording, mode: Mode, answers: int) -> str:
    if mode is Mode.PAIRWISE:
        return wording.pairwise
    if mode is Mode.ORDERING:
        return wording.ordering.replace("{count}", str(answers))
    return wording.solo if answers == 1 else wording.scoring.replace("{count}", str(answers))
