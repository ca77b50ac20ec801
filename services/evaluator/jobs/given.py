"""Reviews that a run brings with it: a verdict that is checked, or a text that is read.

Makes no call and owns no parser.
"""

from __future__ import annotations

from services.evaluator.jobs.plan import Plan, ReviewUnit
from services.evaluator.jobs.told_verdicts import ranks_fault, score_range, scores_fault
from services.evaluator.judging.assessment import Assessment, Form
from services.evaluator.ranks import ranks_of
from shared.protocol.evals.item import Verdict
from shared.protocol.evals.run import GivenReview

GIVEN_RULE = "given"


def given_verdict(
    plan: Plan, unit: ReviewUnit, review: GivenReview, assessment: Assessment
) -> Verdict:
    """Return the verdict of a given review; one that is none is undecoded and says why."""
    places = len(unit.lineup)
    if review.ranks is not None:
        fault = ranks_fault(review.ranks, places)
        return Verdict(ranks=None if fault else review.ranks, rule=_rule(fault))
    if review.scores is not None:
        fault = scores_fault(review.scores, places, *score_range(plan, unit))
        if fault:
            return Verdict(rule=_rule(fault))
        ranks = ranks_of(review.scores)
        return Verdict(ranks=ranks, scores=review.scores, rule=GIVEN_RULE)
    return assessment.read(Form.TEXT, review.text or "", None)


def _rule(fault: str | None) -> str:
    return GIVEN_RULE if fault is None else f"{GIVEN_RULE}, but {fault}"
