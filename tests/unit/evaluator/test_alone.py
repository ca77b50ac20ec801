"""Scoring in which each answer is judged by itself."""

from __future__ import annotations

import pytest

from services.evaluator.jobs.plan import Plan
from shared.protocol.evals.run import Candidate, RunSpec
from shared.protocol.evals.spec import EvalSpec, Judge, Mode, Question, Swap


@pytest.mark.parametrize("swap", list(Swap))
def test_each_answer_has_a_review_of_its_own(swap):
    spec = EvalSpec(
        questions=[Question(id="1", turns=["Q?"])],
        dimensions=["general"],
        judges=[Judge(model="j")],
        alone=True,
        swap=swap,
        repeats=2,
    )
    plan = Plan(spec, RunSpec(candidates=[Candidate(name=name) for name in "abc"]))
    assert [plan.review(number).lineup for number in range(plan.reviews)] == [
        *((0,), (0,)),
        *((1,), (1,)),
        *((2,), (2,)),
    ]


def test_other_modes_need_rivals():
    spec = EvalSpec(questions=[], dimensions=["general"], mode=Mode.ORDERING, alone=True)
    question = Question(id="1", turns=["Q?"])
    spec = spec.model_copy(update={"questions": [question], "judges": [Judge(model="j")]})
    plan = Plan(spec, RunSpec(candidates=[Candidate(name=name) for name in "ab"]))
    assert plan.review(0).lineup == (0, 1)
