"""Rows that stay JSON: as a list of the same rows, whatever stands in them."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.evaluator.jobs.given_answers import GivenAnswers
from services.evaluator.jobs.plan import Plan
from services.evaluator.jobs.records import pack_bytes
from services.evaluator.jobs.stored_specs import run_spec_of, run_text
from services.evaluator.sealed_rows import json_text, sealed
from shared.protocol.evals.run import Candidate, GivenAnswer, GivenReview, RunSpec
from shared.protocol.evals.spec import Question
from tests.fakes.eval_specs import eval_spec, questions

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
IDS = TEXTS
ANSWERS = st.lists(
    st.builds(GivenAnswer, question_id=IDS, turns=st.lists(TEXTS, min_size=1, max_size=3)),
    max_size=5,
)
REVIEWS = st.lists(
    st.builds(
        GivenReview,
        question_id=IDS,
        dimension=TEXTS,
        judge=TEXTS,
        lineup=st.lists(TEXTS, max_size=2),
        scores=st.none() | st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=2),
    ),
    max_size=5,
)
RUNS = st.builds(
    RunSpec,
    candidates=st.lists(
        st.builds(Candidate, name=TEXTS, system=st.none() | TEXTS, answers=st.none() | ANSWERS),
        min_size=1,
        max_size=3,
    ),
    questions=st.none() | st.integers(0, 3).map(questions),
    reviews=st.none() | REVIEWS,
)


@given(ANSWERS)
def test_sealed_rows_are_the_rows(answers):
    rows = sealed(answers, GivenAnswer)
    assert rows == answers
    assert answers == rows
    assert len(rows) == len(answers)
    assert [*reversed(rows)] == answers[::-1]
    assert rows[1:] == answers[1:]
    assert [rows.plain(place) for place in range(len(rows))] == [
        answer.model_dump() for answer in answers
    ]
    assert orjson.loads(json_text({"rows": rows})) == orjson.loads(json_text({"rows": answers}))
    with pytest.raises(IndexError):
        _ = rows[len(answers)]


@given(RUNS)
def test_a_run_is_read_as_it_was_stored(run):
    stored = pack_bytes(run_text(run))
    read = run_spec_of(stored, run.limits.model_dump_json().encode())
    assert read == run
    assert read.model_dump_json() == run.model_dump_json()
    assert run_text(read) == run_text(run)


def test_what_is_told_of_models_is_what_they_tell_themselves():
    spec = eval_spec(3, applies_to={"general": {"category": ["math"]}}, weights={"general": 0.5})
    rows = spec.model_copy(update={"questions": sealed(spec.questions, Question)})
    assert orjson.loads(json_text(rows)) == orjson.loads(spec.model_dump_json())


def test_given_answers_stand_where_their_questions_do():
    answers = [GivenAnswer(question_id=name, turns=[f"to {name}"]) for name in ("2", "0", "gone")]
    run = RunSpec(
        candidates=[Candidate(name="asked", model="m"), Candidate(name="given", answers=answers)]
    )
    found = GivenAnswers(Plan(eval_spec(3), run))
    assert {number: answer.turns for number, answer in found.items()} == {
        1: ("to 0",),
        5: ("to 2",),
    }
    assert [number in found for number in range(6)] == [False, True, False, False, False, True]
    assert found.get(3) is None
