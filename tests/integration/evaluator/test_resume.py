"""Runs cancelled, resumed, failed by their own rule, and stopped by their limits."""

from __future__ import annotations

import asyncio

import pytest

from shared.errors import Conflict, InvalidRequest
from shared.protocol.evals.run import Limits, RunStatus
from tests.fakes.eval_calls import FlatEstimates, Said, ScriptedCalls, obliging
from tests.fakes.eval_specs import eval_spec, given_candidate, questions, run_spec
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.redis


def failing(*numbers, model):
    def reply(ask):
        if ask.model == model and any(f"Question {number}," in ask.text for number in numbers):
            raise InvalidRequest("ill")
        return obliging(ask)

    return reply


async def resumed(jobs, run, only, limits=None):
    run = await jobs.store.resume(run, only, limits)
    jobs.runner.poke()
    return await jobs.ended(run)


async def test_errored_reviews_are_asked_again_and_nothing_else(jobs, calls):
    calls.reply = failing(2, 5, 7, model="judge")
    evaluation, made = await jobs.create(eval_spec(10), run_spec())
    run = await jobs.ended(made)
    assert (run.progress.errored, run.progress.judged) == (3, 7)
    calls.reply = obliging
    calls.asked.clear()
    run = await resumed(jobs, run, "errored")
    assert [ask.model for ask in calls.asked] == ["judge"] * 3
    assert (run.status, run.progress.errored, run.progress.judged) == ("completed", 0, 10)
    assert (run.usage.answers.calls, run.usage.judge.calls) == (10, 10)
    items, _ = await jobs.store.output_items(evaluation, run, None, 20, status="judged")
    assert len(items) == 10


async def test_errored_answers_are_asked_again_with_the_reviews_that_hung_on_them(jobs, calls):
    calls.reply = failing(2, 5, model="b")
    _, made = await jobs.create(eval_spec(10, repeats=2), run_spec("a", "b"))
    run = await jobs.ended(made)
    assert (run.progress.errored, run.progress.judged, run.progress.answered) == (4, 16, 18)
    calls.reply = obliging
    calls.answered.clear()
    run = await resumed(jobs, run, "errored")
    assert calls.models() == {"b": 2, "judge": 4}
    assert (run.progress.judged, run.progress.errored, run.progress.answered) == (20, 0, 20)
    assert run.usage.answers.calls == 20


async def test_a_later_turn_that_failed_does_not_repeat_the_earlier_ones(jobs, calls):
    def second_fails(ask):
        if "turn 1" in ask.text and ask.model == "m":
            raise InvalidRequest("ill")
        return obliging(ask)

    calls.reply = second_fails
    spec = eval_spec(questions=questions(1, turns=3))
    evaluation, made = await jobs.create(spec, run_spec("m"))
    run = await jobs.ended(made)
    assert (run.status, run.usage.answers.calls) == ("failed", 1)
    calls.reply = obliging
    calls.answered.clear()
    run = await resumed(jobs, run, "errored")
    assert calls.models() == {"m": 2, "judge": 1}
    assert (run.status, run.usage.answers.calls) == ("completed", 3)
    material = await jobs.store.material(evaluation, run)
    assert material.answers[0].turns == tuple(f"m on Question 0, turn {n}?" for n in range(3))
    assert material.answers[0].usage.calls == 3


async def test_undecoded_ones_are_asked_anew_by_other_calls(jobs, calls):
    calls.reply = lambda ask: Said("Hm.") if ask.model == "judge" else obliging(ask)
    _, made = await jobs.create(eval_spec(4), run_spec())
    run = await jobs.ended(made)
    assert run.progress.undecoded == 4
    before = {ask.key for ask in calls.asked}
    calls.reply = obliging
    calls.asked.clear()
    run = await resumed(jobs, run, "undecoded")
    assert (run.progress.judged, run.progress.undecoded) == (4, 0)
    assert len(calls.asked) == 4
    assert before.isdisjoint(ask.key for ask in calls.asked)


async def test_calls_in_flight_finish_after_a_cancel_and_nothing_new_starts(jobs, calls):
    calls.gate.clear()
    _, made = await jobs.create(eval_spec(30), run_spec())
    await eventually(lambda: calls.in_flight == 8)
    canceled = await jobs.store.cancel(made)
    assert (canceled.status, canceled.reason) == ("canceled", "user")
    calls.gate.set()

    async def kept():
        return (await jobs.store.get_run(made.eval_id, made.id)).usage.answers.calls == 8

    await eventually(kept)
    assert len(calls.asked) == 8
    run = await resumed(jobs, await jobs.store.get_run(made.eval_id, made.id), "all_missing")
    assert (run.status, run.progress.judged) == ("completed", 30)
    assert len(calls.asked) == 60
    assert len({ask.key for ask in calls.asked}) == 60


async def test_no_further_turn_is_asked_after_a_cancel(jobs, calls):
    calls.gate.clear()
    _, made = await jobs.create(eval_spec(questions=questions(3, turns=3)), run_spec())
    await eventually(lambda: calls.in_flight == 3)
    await jobs.store.cancel(made)
    calls.gate.set()
    await eventually(lambda: not any(work.in_work for work in jobs.works.all()))
    assert len(calls.asked) == 3
    run = await resumed(jobs, await jobs.store.get_run(made.eval_id, made.id), "all_missing")
    assert (run.status, run.progress.judged, run.usage.answers.calls) == ("completed", 3, 9)
    assert len(calls.asked) == len({ask.key for ask in calls.asked}) == 12


async def test_an_unreadable_verdict_is_not_asked_for_again_after_a_cancel(jobs, calls):
    calls.reply = lambda ask: Said("Hm.") if ask.model == "judge" else obliging(ask)
    spec = eval_spec(2)
    run = run_spec(candidates=[given_candidate("mine", 2)])
    calls.gate.clear()
    _, made = await jobs.create(spec, run)
    await eventually(lambda: calls.in_flight == 2)
    await jobs.store.cancel(made)
    calls.gate.set()
    await eventually(lambda: not any(work.in_work for work in jobs.works.all()))
    assert len(calls.asked) == 2
    told = await jobs.store.get_run(made.eval_id, made.id)
    assert (told.status, told.progress.undecoded, told.usage.judge.calls) == ("canceled", 2, 2)


async def test_an_open_run_is_not_resumed(jobs, calls):
    calls.gate.clear()
    _, made = await jobs.create(eval_spec(3), run_spec())
    with pytest.raises(Conflict):
        await jobs.store.resume(made, "errored")


async def test_resumed_at_once_while_calls_are_in_flight_repeats_none(jobs, calls):
    calls.gate.clear()
    _, made = await jobs.create(eval_spec(30), run_spec())
    await eventually(lambda: calls.in_flight == 8)
    await jobs.store.cancel(made)
    run = await jobs.store.resume(made, "all_missing")
    jobs.runner.poke()
    calls.gate.set()
    run = await jobs.ended(run)
    assert (run.status, run.progress.judged, run.usage.answers.calls) == ("completed", 30, 30)
    assert len(calls.asked) == 60


async def test_what_was_not_asked_stays_aside_when_only_failures_are_resumed(jobs, calls):
    def gated(ask):
        if ask.model == "judge" and len(calls.asked) > 20:
            calls.gate.clear()
        return failing(0, 1, model="judge")(ask)

    calls.reply = gated
    _, made = await jobs.create(eval_spec(100), run_spec())
    await eventually(lambda: calls.in_flight == 8)
    await jobs.store.cancel(made)
    calls.reply = obliging
    calls.gate.set()
    await eventually(lambda: calls.in_flight == 0)
    run = await jobs.store.get_run(made.eval_id, made.id)
    assert 0 < run.progress.done < 100
    await eventually(lambda: not any(work.in_work for work in jobs.works.all()))
    run = await jobs.store.get_run(made.eval_id, made.id)
    errored, asked = run.progress.errored, len(calls.asked)
    again = await resumed(jobs, run, "errored")
    assert len(calls.asked) - asked == errored
    assert (again.status, again.progress.errored) == ("canceled", 0)
    whole = await resumed(jobs, again, "all_missing")
    assert (whole.status, whole.progress.judged) == ("completed", 100)
    assert whole.usage.answers.calls == 100
    assert len({ask.key for ask in calls.answered}) == len(calls.answered) == 200


@pytest.mark.parametrize(("rule", "errors"), [(True, 1), (0.3, 6), (4, 4), (0.0, 1)])
async def test_a_run_fails_by_its_rule(make_jobs, calls, rule, errors):
    calls.reply = failing(*range(20), model="judge")
    jobs = make_jobs(width=1)
    run, _ = await jobs.finished(eval_spec(20), run_spec(fail_on_error=rule))
    assert (run.status, run.progress.errored) == ("failed", errors)
    assert str(errors) in run.error
    calls.reply = obliging
    run = await resumed(jobs, run, "all_missing")
    assert (run.status, run.progress.judged, run.error) == ("completed", 20, None)


async def test_errors_below_the_rule_fail_nothing(jobs, calls):
    calls.reply = failing(1, 2, 3, model="judge")
    run, _ = await jobs.finished(eval_spec(20), run_spec(fail_on_error=4))
    assert (run.status, run.progress.errored) == ("completed", 3)


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        (Limits(max_calls=25), 25),
        (Limits(max_judge_calls=7), None),
        (Limits(max_tokens=13 * 21), 21),
        (Limits(max_cost_usd=0.0175), 17),
        (Limits(max_calls=0), 0),
    ],
)
async def test_a_budget_stops_a_run_and_another_one_goes_on(jobs, calls, limits, most):
    run, _ = await jobs.finished(eval_spec(40), run_spec(limits=limits))
    assert (run.status, run.reason) == ("canceled", "budget")
    made = run.usage.answers.calls + run.usage.judge.calls
    assert made == len(calls.asked)
    if most is None:
        assert run.usage.judge.calls == 7
    else:
        assert made == most
    again = await resumed(jobs, run, "all_missing", Limits())
    assert (again.status, again.progress.judged) == ("completed", 40)
    assert len(calls.asked) == 80
    assert (await jobs.store.run_spec(run.id)).limits == Limits()
    fields = await jobs.redis.hgetall(f"llmzoo:eval-run:{run.id}")
    held = {name: value for name, value in fields.items() if name.startswith(b"held")}
    assert set(held.values()) <= {b"0"}


async def test_what_estimates_hold_is_given_back_when_less_was_used(make_jobs, calls):
    class Cautious:
        def estimate(self, _):
            return Said("", prompt_tokens=100, completion_tokens=900, cost_usd=0.0)

    jobs = make_jobs(estimates=Cautious())
    # Each call may use 1000 tokens and uses 13: all 20 fit one after the other.
    run, _ = await jobs.finished(eval_spec(10), run_spec(limits=Limits(max_tokens=1300)))
    assert (run.status, run.progress.judged) == ("completed", 10)
    assert calls.most_in_flight == 1


async def test_a_deadline_stops_a_run(jobs, calls):
    calls.gate.clear()
    _, made = await jobs.create(eval_spec(20), run_spec(limits=Limits(deadline=0.3)))
    run = await jobs.ended(made)
    assert (run.status, run.reason) == ("canceled", "deadline")
    assert len(calls.asked) == 8
    calls.gate.set()
    again = await resumed(jobs, run, "all_missing", Limits(deadline=60))
    assert again.status == "completed"
    assert len(calls.asked) == 40


async def test_a_price_that_is_not_known_is_said(make_jobs):
    jobs = make_jobs(estimates=FlatEstimates(None))
    run, _ = await jobs.finished(eval_spec(3), run_spec(limits=Limits(max_cost_usd=1)))
    assert run.status is RunStatus.COMPLETED
    assert any("price" in warning for warning in run.warnings)


async def test_two_runs_share_the_slots_whichever_came_first(make_jobs):
    calls = ScriptedCalls()
    jobs = make_jobs(width=8, calls=calls)
    calls.gate.clear()
    first = await jobs.create(eval_spec(100), run_spec("first"))
    await eventually(lambda: calls.in_flight == 8)
    second = await jobs.create(eval_spec(100), run_spec("second"))
    await eventually(lambda: len(jobs.works.all()) == 2)
    seen = []

    def watching(ask):
        seen.append(ask.model)
        return obliging(ask)

    calls.reply = watching
    calls.gate.set()
    await asyncio.gather(*(jobs.ended(run) for _, run in (first, second)))
    half = [model for model in seen if model != "judge"][8:120]
    assert 40 <= half.count("second") <= 72
