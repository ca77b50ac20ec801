"""Verdicts that are told and not read: a person's in a judge's place, those that a run brings.

Owns what such a verdict must be like. Writes nothing.
"""

from __future__ import annotations

import math

from services.evaluator.jobs.plan import Plan, ReviewUnit
from services.evaluator.judging.scales import scale_of
from services.evaluator.ranks import ranks_of
from shared.errors import InvalidSpec
from shared.protocol.evals.item import OverrideRequest, Verdict
from shared.protocol.evals.spec import Grader

HUMAN_RULE = "human"


def verdict_of(plan: Plan, unit: ReviewUnit, request: OverrideRequest) -> Verdict:
    """Return the verdict of a request. Raises InvalidSpec with all that does not fit."""
    told = {"ranks": request.ranks, "scores": request.scores, "label": request.label}
    given = [name for name, value in told.items() if value is not None]
    if len(given) != 1:
        raise InvalidSpec([("", "exactly one of ranks, scores and label is needed")])
    grader = _grader(plan, unit)
    if request.label is not None:
        return _label(grader, request.label)
    if request.scores is not None:
        low, high = score_range(plan, unit)
        if fault := scores_fault(request.scores, len(unit.lineup), low, high):
            raise InvalidSpec([("/scores", fault)])
        passed = None
        if grader and grader.pass_threshold is not None:
            passed = request.scores[0] >= grader.pass_threshold
        ranks = ranks_of(request.scores)
        return Verdict(ranks=ranks, scores=request.scores, passed=passed, rule=HUMAN_RULE)
    if fault := ranks_fault(request.ranks or [], len(unit.lineup)):
        raise InvalidSpec([("/ranks", fault)])
    return Verdict(ranks=request.ranks, rule=HUMAN_RULE)


def _label(grader: Grader | None, label: str) -> Verdict:
    if grader is None or grader.labels is None:
        raise InvalidSpec([("/label", "the judge of this item gives no labels")])
    if label not in grader.labels:
        raise InvalidSpec([("/label", f"must be one of {', '.join(grader.labels)}")])
    return Verdict(label=label, passed=label in (grader.passing_labels or []), rule=HUMAN_RULE)


def ranks_fault(ranks: list[int], n: int) -> str | None:
    """Return why these are no competition ranks of `n` answers, such as 1, 2, 2, 4."""
    if len(ranks) != n:
        return f"{n} are needed, one for each answer of the line-up"
    wanted = [1 + sum(other < rank for other in ranks) for rank in ranks]
    return None if ranks == wanted else "they are no competition ranks, such as 1, 2, 2, 4"


def scores_fault(scores: list[float], n: int, low: float, high: float) -> str | None:
    """Return why these are no scores of `n` answers from `low` to `high`."""
    if len(scores) != n:
        return f"{n} are needed, one for each answer of the line-up"
    if all(math.isfinite(score) and low <= score <= high for score in scores):
        return None
    return f"each must lie from {low:g} to {high:g}"


def score_range(plan: Plan, unit: ReviewUnit) -> tuple[float, float]:
    """Return the lowest and the highest score that a verdict on this review may have."""
    measured = [*plan.spec.dimensions, *plan.spec.graders][unit.dimension]
    return scale_of(measured, given=plan.given)


def _grader(plan: Plan, unit: ReviewUnit) -> Grader | None:
    place = unit.dimension - len(plan.spec.dimensions)
    return plan.spec.graders[place] if place >= 0 else None
