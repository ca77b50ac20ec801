"""LLMZoo's files of a run: of which reviews and answers they are made."""

import json

import pytest

from services.evaluator.jobs.given_answers import GivenAnswers
from services.evaluator.jobs.material import RunMaterial
from services.evaluator.jobs.plan import Plan
from services.evaluator.jobs.records import StoredAnswer, StoredResult
from services.evaluator.llmzoo_files import artefact
from services.evaluator.routes.figures import ArtefactRequest
from shared.errors import InvalidRequest
from shared.protocol.evals.item import ItemError, ItemStatus, Verdict
from shared.protocol.evals.run import (
    Candidate,
    Evaluation,
    Progress,
    Run,
    RunSpec,
    RunStatus,
    Usage,
)
from shared.protocol.evals.spec import EvalSpec, Judge, Mode, Question, Swap

FAILED = ItemError(stage="judge", message="No.", code=None, status=500)


def material(results, answers=(), **spec):
    told = {
        "questions": [Question(id=str(number), turns=["?"]) for number in (10, 9, 8)],
        "dimensions": ["general"],
        "mode": Mode.ORDERING,
        "judges": [Judge(model="one"), Judge(model="two")],
        "swap": Swap.BOTH,
        "repeats": 2,
    } | spec
    asked = EvalSpec(**told)
    run_spec = RunSpec(candidates=[Candidate(name=name, model=name) for name in "ab"])
    plan = Plan(asked, run_spec)
    nothing = dict.fromkeys(("total", "queued", "answering", "judging", "done", "judged"), 0)
    nothing |= dict.fromkeys(("undecoded", "errored", "answers_total", "answered"), 0)
    run = Run(
        id="run",
        eval_id="eval",
        name="",
        status=RunStatus.RUNNING,
        created_at=0,
        candidates=["a", "b"],
        progress=Progress(**nothing),
        usage=Usage(),
    )
    evaluation = Evaluation(id="eval", created_at=0, question_count=3, spec={})
    stored = dict(GivenAnswers(plan)) | dict(answers)
    return RunMaterial(evaluation, asked, run, run_spec, plan, stored, dict(results), {})


def judged(*ranks):
    return StoredResult(ItemStatus.JUDGED, Verdict(ranks=list(ranks), rule="schema"))


def wanted(name, **others):
    told = {"dimension": "general", "horizontal": True, "scores": False, "candidate": None} | others
    return ArtefactRequest(name=name, **told)


def lines(content):
    return [json.loads(line) for line in content.decode().splitlines()]


def test_the_first_review_of_each_question_counts():
    # Eight of each: two judges, two orders, two repeats; all but the first say otherwise.
    results = {number: judged(2, 1) for number in range(24)}
    results |= {start: judged(1, 2) for start in (0, 8, 16)}
    told = json.loads(artefact(material(results), wanted("metric.json")))
    assert told == {"a": {"order": 1.0, "score": 10.0}, "b": {"order": 2.0, "score": 5.0}}


def test_what_failed_is_unread_and_what_is_to_come_is_left_out():
    failed = StoredResult(ItemStatus.ERRORED, error=FAILED)
    # Of the last question a later review is there, but not the first.
    rows = lines(
        artefact(material({0: judged(1, 2), 8: failed, 17: judged(2, 1)}), wanted("review.jsonl"))
    )
    assert [(row["question_id"], row["order"]) for row in rows] == [(9, [-1, -1]), (10, [1, 2])]
    with pytest.raises(InvalidRequest):
        artefact(material({}), wanted("metric.json"))


def test_answers_need_no_review_and_failed_ones_are_none():
    answers = {
        0: StoredAnswer(("One.",)),
        1: StoredAnswer(("Two.",)),
        3: StoredAnswer((), error=FAILED),
    }
    answers[5] = StoredAnswer(("First.", "Second."))
    bare = material({}, answers, dimensions=[], judges=[], swap=Swap.NONE)
    rows = lines(artefact(bare, wanted("answers.jsonl", dimension="", candidate="b")))
    assert [(row["question_id"], row["text"], row["model_id"]) for row in rows] == [
        (8, "First.\n\nSecond.", "b"),
        (10, "Two.", "b"),
    ]
