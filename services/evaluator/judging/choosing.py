"""Which assessment a review is.

Owns the way from a spec's dimension to what asks and reads.
"""

from __future__ import annotations

from services.evaluator.judging.assessment import Assessment, ReviewTask
from services.evaluator.judging.dimensions import load_dimensions
from services.evaluator.judging.graders.choosing import grader_assessment
from services.evaluator.judging.rubric import RubricAssessment
from shared.errors import InvalidSpec
from shared.protocol.evals.spec import EvalSpec, Mode


def assessment_of(spec: EvalSpec, dimension: int, task: ReviewTask) -> Assessment:
    """Return how one review is made.

    Args:
        spec: what is measured.
        dimension: the place in `spec.dimension_names`.
        task: the review.

    Raises:
        InvalidSpec: the line-up does not suit the mode, or a judge is missing.
    """
    own = len(spec.dimensions)
    if dimension >= own:
        return grader_assessment(spec.graders[dimension - own], task)
    if task.judge is None:
        raise InvalidSpec([("/judges", "A dimension needs a judge.")])
    answers = len(task.answers)
    least = 1 if task.mode is Mode.SCORING else 2
    if answers < least or (task.mode is Mode.PAIRWISE and answers != least):
        fault = f"{task.mode.value} does not go with {answers} answers."
        raise InvalidSpec([("/mode", fault)])
    named = spec.dimensions[dimension]
    asked = load_dimensions()[named] if isinstance(named, str) else named
    return RubricAssessment(task, task.judge, asked)
