"""Reviews to make, and judges that write what they are told to."""

from __future__ import annotations

from typing import Any

from services.evaluator.judging.assessment import AnswerShown, Assessment, ReviewTask
from services.evaluator.judging.choosing import assessment_of
from shared.protocol.evals.spec import EvalSpec, Grader, Judge, Mode, Question, Rubric

QUESTION = "Which bird sleeps while it flies?"
JUDGE = Judge(model="judge")


def task(
    mode: Mode,
    *answers: str | tuple[str, ...],
    judge: Judge | None = JUDGE,
    repeat: int = 0,
    with_references: bool = True,
    **question: Any,
) -> ReviewTask:
    """Return a review of `answers`, each one text or its turns."""
    told: dict[str, Any] = {"turns": [QUESTION], **question}
    shown = tuple(
        AnswerShown(f"candidate {place}", (answer,) if isinstance(answer, str) else answer)
        for place, answer in enumerate(answers)
    )
    return ReviewTask(mode, Question(**told), shown, repeat, judge, with_references)


def assessed(review: ReviewTask, dimension: str | Rubric = "general") -> Assessment:
    """Return the assessment of a review in one dimension."""
    spec = EvalSpec(questions=[], dimensions=[dimension], mode=review.mode)  # type: ignore[list-item]
    return assessment_of(spec, 0, review)


def graded(grader: Grader, *answers: str, **question: Any) -> Assessment:
    """Return the assessment of the last answer by a grader, after a dimension."""
    spec = EvalSpec(questions=[], dimensions=["general"], graders=[grader])
    return assessment_of(spec, 1, task(Mode.SCORING, *answers, judge=None, **question))


def prompt_of(body: dict[str, Any]) -> str:
    """Return what the judge is told, all messages together."""
    return "\n".join(message["content"] for message in body["messages"])
