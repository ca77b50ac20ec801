"""Between which numbers the scores of each dimension lie: where they can be set beside each other.

Knows no verdict.
"""

from __future__ import annotations

from services.evaluator.judging.dimensions import HIGH, LOW, Dimension
from shared.protocol.evals.spec import EvalSpec, Grader, Rubric

Scale = tuple[float, float]
_ASKED: Scale = (LOW, HIGH)
"""What our judges are told of a dimension that is built in, and so people who correct them."""
_GIVEN: Scale = (0.0, HIGH)
"""Of reviews that a run brings: other projects' judges may begin at 0."""
_GRADES: Scale = (0.0, 1.0)
"""OpenAI's default of models; of rules, and of labels that pass or not."""


def scales_of(spec: EvalSpec, *, given: bool) -> dict[str, Scale]:
    """Return the lowest and the highest score of each dimension and grader, by name.

    Args:
        spec: what is measured.
        given: of a run that brings its reviews.
    """
    everything = [*spec.dimensions, *spec.graders]
    return {
        each if isinstance(each, str) else each.name: scale_of(each, given=given)
        for each in everything
    }


def scale_of(measured: str | Dimension | Rubric | Grader, *, given: bool) -> Scale:
    """Return the lowest and the highest score of one of them."""
    match measured:
        case Rubric():
            return measured.low, measured.high
        case Grader():
            return grades_of(measured)
        case _:
            return _GIVEN if given else _ASKED


def grades_of(grader: Grader) -> Scale:
    """Return the lowest and the highest grade."""
    asked = grader.range if grader.type == "score_model" else None
    return asked or _GRADES
