"""Runs executed against a real Redis, with models and judges in the test's own process."""

from __future__ import annotations

import pytest

from services.evaluator.figure_makers import figure_makers
from services.evaluator.judging.assessment import Form
from shared.errors import InvalidRequest
from shared.protocol.evals.item import ItemStatus
from shared.protocol.evals.run import Candidate, GivenReview, RunStatus, Sampling
from shared.protocol.evals.spec import Grader, Judge, Message, Mode, Question, Swap
from tests.fakes.eval_calls import Said, ScoreAssessment, obliging
from tests.fakes.eval_specs import eval_spec, given_candidate, questions, run_spec

pytestmark = pytest.mark.redis


async def test_a_run_answers_judges_and_counts(jobs, calls):
    run, material = await jobs.finished(eval_spec(20), run_spec("a", "b"))
    assert run.status is RunStatus.COMPLETED
    assert (run.progress.total, run.progress.judged, run.progress.answered) == (20, 20, 40)
    assert (run.progress.queued, run.progress.answering, run.progress.judging) == (0, 0, 0)
    assert (run.usage.answers.calls, run.usage.judge.calls) == (40, 20)
    assert run.usage.answers.prompt_tokens == 400
    assert run.usage.judge.cost_usd == 0.02
    assert [(each.model, each.calls) for each in run.usage.models] == [
        ("a", 20), ("b", 20), ("judge", 20),
    ]  # fmt: skip
    assert run.usage.possibly_repeated == 0
    assert len(calls.asked) == 60
    assert material.results[7].judge_text == "Score: 7"
    assert [row.scores for row in material.reviews()] == [(7.0, 7.0)] * 20
    assert [row.candidate for row in material.answer_rows()] == ["a", "b"] * 20


async def test_calls_that_may_have_been_made_twice_are_counted_and_told(jobs, calls):
    def repeating(ask):
        said = obliging(ask)
        said.repeats = 2 if ask.text.startswith("Question 3,") else 0
        return said

    calls.reply = repeating
    run, _ = await jobs.finished(eval_spec(5), run_spec("a", "b"))
    assert run.usage.possibly_repeated == 2 * 2
    assert run.usage.answers.calls == 10


async def test_every_turn_is_a_call_with_all_that_was_said(jobs, calls):
    spec = eval_spec(questions=questions(1, turns=3), dimensions=[], judges=[])
    candidate = Candidate(name="c", model="m", system="Be brief.", sampling=Sampling(seed=7))
    run = run_spec(candidates=[candidate], sampling=Sampling(temperature=0.5, seed=1))
    ended, material = await jobs.finished(spec, run)
    assert ended.usage.answers.calls == 3
    assert material.answers[0].turns == tuple(f"m on Question 0, turn {n}?" for n in range(3))
    last = calls.asked[-1].body
    assert [message["role"] for message in last["messages"]] == [
        "system", "user", "assistant", "user", "assistant", "user",
    ]  # fmt: skip
    # The candidate's sampling stands in the place of the run's.
    assert {key: last[key] for key in last if key != "messages"} == {"model": "m", "seed": 7}


async def test_the_pace_of_an_answer_is_that_of_all_its_calls(jobs, calls):
    calls.reply = lambda ask: Said(ask.text, seconds=None if "0, turn 1" in ask.text else 0.5)
    spec = eval_spec(questions=questions(2, turns=3), dimensions=[], judges=[], metrics=["latency"])
    _, material = await jobs.finished(spec, run_spec("a"))
    # One of the first answer's calls had been made before; what it took is not known.
    assert [row.seconds for row in material.answer_rows()] == [None, 1.5]
    values = figure_makers().results(material).answers[0].values
    assert (values["seconds"].value, values["seconds"].n) == (1.5, 1)
    assert values["tokens_per_second"].value == 3 * 3 / 1.5


async def test_a_prompt_of_messages_is_sent_as_it_is(jobs, calls):
    asked = [Message(role="system", content="S"), Message(role="user", content="U")]
    question = Question(id="1", turns=["U"], messages=asked)
    spec = eval_spec(questions=[], dimensions=[], judges=[])
    candidate = Candidate(name="c", model="m", system="Own.")
    await jobs.finished(spec, run_spec(candidates=[candidate], questions=[question]))
    assert [each["content"] for each in calls.asked[0].body["messages"]] == ["Own.", "S", "U"]


async def test_given_answers_are_not_asked_for(jobs, calls):
    run = run_spec(candidates=[given_candidate("mine", 5), Candidate(name="m", model="m")])
    ended, material = await jobs.finished(eval_spec(5), run)
    assert calls.models() == {"m": 5, "judge": 5}
    assert ended.progress.answered == 10
    assert "mine says 3." in calls.asked[-1].text or material.answers[6].turns == ("mine says 3.",)


async def test_a_missing_given_answer_is_errored_and_names_the_candidate(jobs):
    spec = eval_spec(3)
    run = run_spec(candidates=[given_candidate("mine", 2)])
    evaluation, made = await jobs.create(spec, run)
    ended = await jobs.ended(made)
    assert (ended.progress.judged, ended.progress.errored) == (2, 1)
    item = await jobs.store.get_item(evaluation, ended, "item_2")
    assert (item.status, item.error.code, item.error.candidate) == (
        "errored", "answer_missing", "mine",
    )  # fmt: skip


async def test_failures_are_errored_with_their_stage_and_the_run_goes_on(jobs, calls):
    def failing(ask):
        if "Question 2" in ask.text and ask.model == "b":
            raise InvalidRequest("too long", code="context_length")
        if "Question 3" in ask.text and ask.model == "judge":
            raise InvalidRequest("judge is ill")
        if "Question 4" in ask.text and ask.model == "judge":
            raise RuntimeError("a fault of ours")
        return obliging(ask)

    calls.reply = failing
    evaluation, made = await jobs.create(eval_spec(6), run_spec("a", "b"))
    run = await jobs.ended(made)
    assert run.status is RunStatus.COMPLETED
    assert (run.progress.judged, run.progress.errored, run.progress.answered) == (3, 3, 11)
    items, _ = await jobs.store.output_items(evaluation, run, None, 10, status="errored")
    assert [item.id for item in items] == ["item_2", "item_3", "item_4"]
    errors = [item.error for item in items]
    assert [(each.stage, each.code, each.candidate) for each in errors] == [
        ("answer", "context_length", "b"),
        ("judge", "invalid_value", None),
        ("judge", "internal", None),
    ]
    assert items[0].answers[1].error.message == "too long"
    # A review of an answer that failed is no call.
    assert sum("Question 2" in ask.text for ask in calls.asked if ask.model == "judge") == 0


async def test_a_run_without_any_verdict_has_failed(jobs, calls):
    def refuse(_):
        raise InvalidRequest("no such model")

    calls.reply = refuse
    run, _ = await jobs.finished(eval_spec(3), run_spec())
    assert run.status is RunStatus.FAILED
    assert run.error
    assert len(calls.asked) == 3


async def test_an_unreadable_verdict_is_asked_for_once_more_and_then_kept(jobs, calls):
    def vague(ask):
        if ask.model == "judge" and len(ask.body["messages"]) == 1:
            return Said("It deserves a 7 or an 8.")
        if ask.model == "judge" and "Question 1" in ask.body["messages"][0]["content"]:
            return Said("Hm.")
        return obliging(ask)

    calls.reply = vague
    run, material = await jobs.finished(eval_spec(3), run_spec())
    assert (run.progress.judged, run.progress.undecoded) == (2, 1)
    assert run.usage.judge.calls == 6
    assert run.warnings
    assert material.results[1].judge_text == "Hm."
    assert material.results[1].verdict.rule == "no_score"
    assert sum(row.decoded for row in material.reviews()) == 2


async def test_a_refused_form_is_remembered_for_that_judge(make_jobs, calls):
    def both_forms(spec, dimension, task):
        return ScoreAssessment(spec, dimension, task, (Form.SCHEMA, Form.TEXT))

    def textual(ask):
        if "response_format" in ask.body and ask.model == "judge-1":
            raise InvalidRequest("response_format is not served", param="response_format")
        return obliging(ask)

    calls.reply = textual
    jobs = make_jobs(assessing=both_forms, width=1)
    spec = eval_spec(5, judges=[Judge(model="judge-1"), Judge(model="judge-2")])
    run, _ = await jobs.finished(spec, run_spec())
    assert run.progress.judged == 10
    asked = [(ask.model, "response_format" in ask.body) for ask in calls.asked]
    assert asked.count(("judge-1", True)) == 1
    assert asked.count(("judge-1", False)) == 5
    assert asked.count(("judge-2", True)) == 5


async def test_repeats_are_different_calls(jobs, calls):
    spec = eval_spec(2, repeats=3, mode=Mode.PAIRWISE, swap=Swap.BOTH)
    run, material = await jobs.finished(spec, run_spec("a", "b"))
    assert run.progress.total == 12
    assert len({ask.key for ask in calls.asked if ask.model == "judge"}) == 12
    assert {row.lineup for row in material.reviews()} == {("a", "b"), ("b", "a")}


async def test_given_reviews_make_no_call(jobs, calls):
    reviews = [
        GivenReview(question_id="1", dimension="general", judge="old", lineup=["a", "b"],
                    ranks=[1, 2]),
        GivenReview(question_id="0", dimension="general", judge="old", lineup=["b", "a"],
                    scores=[3.0, 9.0]),
        GivenReview(question_id="1", dimension="general", judge="old", lineup=["a", "b"],
                    text="Score: 4", repeat=1),
        GivenReview(question_id="2", dimension="general", judge="new", lineup=["a", "b"],
                    ranks=[2, 2]),
        GivenReview(question_id="2", dimension="general", judge="new", lineup=["a", "b"],
                    text="Both are fine."),
    ]  # fmt: skip
    spec = eval_spec(3, mode=Mode.ORDERING)
    run, material = await jobs.finished(spec, run_spec("a", "b", reviews=reviews))
    assert run.status is RunStatus.COMPLETED
    assert calls.asked == []
    assert (run.progress.judged, run.progress.undecoded) == (3, 2)
    rows = [(row.question, row.judge, row.lineup, row.ranks) for row in material.reviews()]
    assert rows == [
        ("0", "old", ("b", "a"), (2, 1)),
        ("1", "old", ("a", "b"), (1, 2)),
        ("1", "old", ("a", "b"), (1, 1)),
        ("2", "new", ("a", "b"), None),
        ("2", "new", ("a", "b"), None),
    ]


async def test_a_grader_by_rule_makes_no_call_and_counts_what_passes(make_jobs, calls):
    def local(spec, dimension, task):
        return ScoreAssessment(spec, dimension, task, ())

    grader = Grader(type="string_check", name="same", operation="eq", input="x", reference="x")
    jobs = make_jobs(assessing=local)
    spec = eval_spec(4, dimensions=[], judges=[], graders=[grader])
    evaluation, made = await jobs.create(spec, run_spec("a", "b"))
    run = await jobs.ended(made)
    assert calls.models() == {"a": 4, "b": 4}
    assert (run.progress.total, run.progress.passed, run.progress.failed) == (8, 8, 0)
    items, _ = await jobs.store.output_items(evaluation, run, None, 20, status="pass")
    assert len(items) == 8
    assert items[0].judge == "string_check"


async def test_what_no_dimension_applies_to_is_answered_all_the_same(jobs, calls):
    spec = eval_spec(4, applies_to={"general": {"category": ["none"]}})
    run, _ = await jobs.finished(spec, run_spec())
    assert (run.status, run.progress.total, run.progress.judged) == ("completed", 4, 4)
    assert calls.models() == {"candidate": 4}


async def test_many_reviews_of_one_question_come_in_slices(jobs, calls):
    spec = eval_spec(1, mode=Mode.PAIRWISE, swap=Swap.BOTH, repeats=16)
    run, _ = await jobs.finished(spec, run_spec(*"abcdef"))
    assert run.progress.total == 30 * 16 == run.progress.judged
    assert len(calls.answered) == 6 + 480


async def test_long_texts_come_back_whole(jobs, calls):
    calls.reply = lambda ask: Said("Score: 7" if ask.model == "judge" else "长" * 20_000)
    run, material = await jobs.finished(eval_spec(2), run_spec())
    assert material.answers[1].turns == ("长" * 20_000,)
    assert run.progress.judged == 2
    stored = await jobs.redis.hgetall(f"llmzoo:eval-run:{run.id}:answers")
    assert max(map(len, stored.values())) < 2_000


async def test_one_width_for_all_and_a_cap_for_one(make_jobs, calls):
    jobs = make_jobs(width=8)
    await jobs.finished(eval_spec(50), run_spec())
    assert calls.most_in_flight == 8
    calls.most_in_flight = 0
    run, _ = await jobs.finished(eval_spec(51), run_spec(concurrency=3))
    assert run.progress.judged == 51
    assert calls.most_in_flight == 3


async def test_the_same_run_again_makes_no_call(jobs, calls):
    first, _ = await jobs.finished(eval_spec(5), run_spec())
    asked = len(calls.asked)
    again, _ = await jobs.finished(eval_spec(5), run_spec())
    assert again == first
    assert len(calls.asked) == asked


async def test_the_digest_says_whether_verdicts_are_equal(jobs, calls):
    evaluation, made = await jobs.create(eval_spec(5), run_spec())
    first = await jobs.store.material(evaluation, await jobs.ended(made))
    other, _ = await jobs.store.create_run(evaluation, run_spec(), force_new=True)
    jobs.runner.poke()
    second = await jobs.store.material(evaluation, await jobs.ended(other))
    assert first.digest == second.digest
    calls.reply = lambda ask: Said("Score: 8" if ask.model == "judge" else obliging(ask).text)
    third, _ = await jobs.store.create_run(evaluation, run_spec(), force_new=True)
    jobs.runner.poke()
    assert (await jobs.store.material(evaluation, await jobs.ended(third))).digest != first.digest
    assert first.results[0].status is ItemStatus.JUDGED
