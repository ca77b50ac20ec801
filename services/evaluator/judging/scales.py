"""Between which numbers the scores of each dimension lie: where they can be set beside each other.

Knows no verdict.
"""

from __future__ import annotations

from services.evaluator.judging.dimensions import HIGH, LOW
from shared.protocol.evals.spec import EvalSpec, Grader

Scale = tuple[float, float]
_GRADES: Scale = (0.0, 1.0)
"""OpenAI's default of models; of rules, and of labels that pass or not."""


def scales_of(spec: EvalSpec) -> dict[str, Scale]:
    """Return the lowest and the highest score of each dimension and grader, by name."""
    own = {
        (each if isinstance(each, str) else each.name): (
            (LOW, HIGH) if isinstance(each, str) else (each.low, each.high)
        )
        for each in spec.dimensions
    }
    return own | {grader.name: scale_of(grader) for grader in spec.graders}


def scale_of(grader: Grader) -> Scale:
    """Return the lowest and the highest grade."""
    asked = grader.range if grader.type == "score_model" else None
    return asked or _GRADES
