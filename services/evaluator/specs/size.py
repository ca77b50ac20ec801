"""How many reviews a run has, without listing any: a request must not cost what it asks for."""

from __future__ import annotations

from collections import Counter
from math import comb

from services.evaluator.jobs.plan import fits
from shared.protocol.evals.run import RunSpec
from shared.protocol.evals.spec import EvalSpec, Mode, Swap


def reviews_of(spec: EvalSpec, run: RunSpec) -> int:
    """Return the number of reviews, as a plan counts them."""
    if run.reviews is not None:
        return len(run.reviews)
    questions = spec.questions if run.questions is None else run.questions
    judges = len(spec.judges if run.judges is None else run.judges)
    looks = judges * _lineups(spec, len(run.candidates), run) * spec.repeats
    kinds = Counter((question.category, question.language) for question in questions)
    own, total = len(spec.dimensions), 0
    for place, name in enumerate(spec.dimension_names):
        rule = spec.applies_to.get(name)
        applying = sum(count for kind, count in kinds.items() if fits(rule, *kind))
        total += applying * (looks if place < own else len(run.candidates))
    return total


def _lineups(spec: EvalSpec, rivals: int, run: RunSpec) -> int:
    """Return in how many orders candidates are shown together."""
    if spec.mode is Mode.SCORING and spec.alone:
        return rivals
    if spec.mode is Mode.PAIRWISE:
        with_baseline = any(each.name == spec.baseline for each in run.candidates)
        pairs = rivals - 1 if with_baseline else comb(rivals, 2)
        return pairs * (1 if spec.swap is Swap.NONE else 2)
    if spec.swap is Swap.NONE or rivals == 1:
        return 1
    return 2 if spec.swap is Swap.BOTH else rivals
