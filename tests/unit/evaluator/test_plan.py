"""Units of a run, counted and never listed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.evaluator.jobs.plan import Plan
from shared.errors import InvalidSpec
from shared.protocol.evals.run import GivenReview
from shared.protocol.evals.spec import Filter, Grader, Judge, Mode, Question, Swap
from tests.fakes.eval_specs import eval_spec, run_spec

CATEGORIES = [None, "roleplay", "math"]


@st.composite
def plans(draw):
    questions = [
        Question(id=str(number), turns=["?"], category=category)
        for number, category in enumerate(draw(st.lists(st.sampled_from(CATEGORIES), max_size=6)))
    ]
    graders = [Grader(type="string_check", name="g")] if draw(st.booleans()) else []
    spec = eval_spec(
        questions=questions,
        dimensions=draw(st.lists(st.sampled_from(["general", "immersion"]), unique=True)),
        graders=graders,
        judges=[Judge(model=f"j{n}") for n in range(draw(st.integers(1, 3)))],
        mode=draw(st.sampled_from(Mode)),
        swap=draw(st.sampled_from(Swap)),
        repeats=draw(st.integers(1, 3)),
        applies_to={"immersion": Filter(category=["roleplay"])},
    )
    return Plan(spec, run_spec(*"abcde"[: draw(st.integers(1, 4))]))


@given(plans())
def test_every_number_is_one_unit_and_every_unit_has_one(plan):
    reviews = [plan.review(number) for number in range(plan.reviews)]
    assert len(set(reviews)) == len(reviews)
    for question in range(len(plan.questions)):
        own = [plan.review(number) for number in plan.reviews_of(question)]
        assert {review.question for review in own} <= {question}
        answers = [plan.answer(number) for number in plan.answers_of(question)]
        assert [(each.question, each.candidate) for each in answers] == [
            (question, place) for place in range(len(plan.candidates))
        ]
        assert list(plan.answers_of(question)) == [
            plan.answer_number(question, place) for place in range(len(plan.candidates))
        ]
    assert sum(len(plan.reviews_of(q)) for q in range(len(plan.questions))) == plan.reviews
    for review in reviews:
        if plan.spec.dimension_names[review.dimension] == "immersion":
            assert plan.questions[review.question].category == "roleplay"
    with pytest.raises(IndexError):
        plan.review(plan.reviews)


def test_given_reviews_are_the_only_ones():
    fields = {"dimension": "general", "lineup": ["b", "a"], "ranks": [1, 2]}
    reviews = [
        GivenReview(question_id="2", judge="old", **fields),
        GivenReview(question_id="0", judge="judge", **fields),
        GivenReview(question_id="2", judge="old", repeat=1, **fields),
    ]
    plan = Plan(eval_spec(3, mode=Mode.ORDERING), run_spec("a", "b", reviews=reviews))
    assert plan.reviews == 3
    assert [plan.given_place(number) for number in range(3)] == [1, 0, 2]
    assert [plan.judges[plan.review(number).judge].model for number in range(3)] == [
        "judge", "old", "old",
    ]  # fmt: skip
    assert plan.review(1).lineup == (1, 0)
    wrong = GivenReview(question_id="9", judge="old", **fields)
    with pytest.raises(InvalidSpec) as refused:
        Plan(eval_spec(3), run_spec("a", "b", reviews=[*reviews, wrong]))
    assert refused.value.faults[0][0] == "/reviews/3"
