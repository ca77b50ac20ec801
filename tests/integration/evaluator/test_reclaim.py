"""What becomes of units whose evaluator died, was frozen, or lost its Redis for a while."""

from __future__ import annotations

import pytest

from services.evaluator.jobs import ends
from services.evaluator.jobs.queue import Queue, Take
from services.evaluator.jobs.records import StoredAnswer
from services.evaluator.jobs.work import work_of
from shared.registry import keys
from tests.fakes.eval_calls import ScriptedCalls, obliging
from tests.fakes.eval_specs import eval_spec, run_spec
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.redis


async def work_for(jobs, run):
    """Return the run as a queue works on it."""
    evaluation = await jobs.store.get_eval(run.eval_id)
    fields = await jobs.redis.hgetall(keys.evaluation_run(run.id))
    stored = await jobs.redis.get(keys.evaluation_run_part(run.id, "spec"))
    return work_of(run.id, evaluation, stored, fields)


async def taken_by(jobs, run, name, most=1):
    """Take units of a run as an evaluator that does nothing with them."""
    queue = Queue(jobs.redis, name)
    work = await work_for(jobs, run)
    await queue.look()
    _, [taken] = await queue.exchange([], [Take(work, most)])
    return queue, work, taken.units


async def died(jobs, name):
    await jobs.redis.delete(keys.evaluator_lease(name))


@pytest.fixture
async def idle(make_jobs):
    """An evaluator that executes nothing yet."""

    made = make_jobs()
    await made.runner.stop()
    return made


async def test_only_what_a_dead_one_left_is_taken_back(idle):
    _, run = await idle.create(eval_spec(20), run_spec())
    _, work, [spread] = await taken_by(idle, run, "dead")
    living = Queue(idle.redis, "living")
    assert (await living.look()).reclaimed == 0
    assert (await living.look()).reclaimed == 0  # its lease holds
    await died(idle, "dead")
    assert (await living.look()).reclaimed == 1
    assert (await living.look()).reclaimed == 0
    _, [taken] = await living.exchange([], [Take(work, 5)])
    assert [unit.name for unit in taken.units] == [spread.name]


async def test_one_that_was_away_itself_takes_nothing_back_at_once(idle):
    _, run = await idle.create(eval_spec(20), run_spec())
    await taken_by(idle, run, "other")
    own = Queue(idle.redis, "own")
    await own.look()
    # As after a freeze of Redis: every lease is over, and nobody is dead.
    await died(idle, "other")
    await died(idle, "own")
    assert (await own.look()).reclaimed == 0
    await Queue(idle.redis, "other").look()
    assert (await own.look()).reclaimed == 0


async def test_what_a_process_had_in_work_is_done_by_another_when_it_stops(make_jobs, calls):
    first = make_jobs(width=8)
    calls.gate.clear()
    _, run = await first.create(eval_spec(30), run_spec())
    await eventually(lambda: calls.in_flight == 8)
    await first.runner.stop()
    assert calls.in_flight == 0  # they are closed
    calls.gate.set()
    second = make_jobs(width=8)
    second.runner.poke()
    ended = await second.ended(run)
    assert (ended.status, ended.progress.judged) == ("completed", 30)
    assert len(calls.answered) == 60


async def test_another_evaluator_goes_on_where_a_dead_one_was(make_jobs, calls):
    first = make_jobs(width=8)
    calls.gate.clear()
    evaluation, run = await first.create(eval_spec(30), run_spec())
    await eventually(lambda: calls.in_flight == 8)
    # Dead: its loop is gone, and its lease with it; its calls come back to nobody.
    first.runner._loop.cancel()
    first.runner._loop = None
    await died(first, first.consumer)
    others = ScriptedCalls()
    second = make_jobs(width=8, calls=others)
    second.runner.poke()
    ended = await second.ended(run)
    assert (ended.status, ended.progress.judged) == ("completed", 30)
    assert (ended.usage.answers.calls, ended.usage.judge.calls) == (30, 30)
    assert len(others.answered) == 60
    # The dead one wakes up: what it brings is known already and counts nothing.
    calls.gate.set()
    await eventually(lambda: len(first.runner._ended) == 8)
    await first.runner._exchange([])
    assert await second.store.get_run(run.eval_id, run.id) == ended
    material = await second.store.material(evaluation, ended)
    assert len(material.results) == 30


async def test_two_evaluators_share_one_run_and_no_call(make_jobs):
    calls = [ScriptedCalls(), ScriptedCalls()]
    for each in calls:
        each.gate.clear()
    jobs = [make_jobs(width=4, calls=each) for each in calls]
    _, run = await jobs[0].create(eval_spec(100), run_spec())
    await eventually(lambda: all(each.in_flight == 4 for each in calls))
    for each in calls:
        each.gate.set()
    ended = await jobs[1].ended(run)
    assert (ended.status, ended.progress.judged) == ("completed", 100)
    asked = [ask.key for each in calls for ask in each.asked]
    assert len(asked) == len(set(asked)) == 200


async def test_what_processes_die_of_is_run_alone_and_given_up(idle, make_jobs):
    evaluation, run = await idle.create(eval_spec(5), run_spec())
    # Spread first, so that there are answers to take.
    queue, work, [spread] = await taken_by(idle, run, "first")

    await queue.exchange([(work, ends.spread(work.plan, spread))], [])
    watcher = Queue(idle.redis, "watcher")
    for death in range(3):
        name = f"victim {death}"
        victim = Queue(idle.redis, name)
        await victim.look()
        _, [taken] = await victim.exchange([], [Take(work, 1)])
        # The one that it dies with comes last now; the others are put behind it.
        while death and taken.units[0].name != "a0":
            await victim.release([work])
            _, [taken] = await victim.exchange([], [Take(work, 1)])
        assert taken.units[0].name == "a0"
        await victim.look()
        await died(idle, name)
        await watcher.look()
        await watcher.look()
    [seen] = (await watcher.look()).runs
    assert seen.suspects == 1
    for death in range(3):
        name = f"lonely {death}"
        victim = Queue(idle.redis, name)
        await victim.look()
        _, [taken] = await victim.exchange([], [Take(work, 1, "alone")])
        assert [(unit.name, unit.died_alone) for unit in taken.units] == [("a0", death)]
        # Nobody runs another one meanwhile.
        _, [none] = await watcher.exchange([], [Take(work, 1, "alone")])
        assert none.units == ()
        await died(idle, name)
        await watcher.look()
    calls = ScriptedCalls()
    jobs = make_jobs(calls=calls)
    jobs.runner.poke()
    ended = await jobs.ended(run)
    assert (ended.status, ended.progress.judged, ended.progress.errored) == ("completed", 4, 1)
    item = await jobs.store.get_item(evaluation, ended, "item_0")
    assert item.error.code == "poison"
    assert all("Question 0" not in ask.text for ask in calls.asked)


async def test_suspects_run_alone_and_everything_ends(idle, make_jobs):
    _, run = await idle.create(eval_spec(10), run_spec())
    work = await work_for(idle, run)
    for death in range(4):
        victim = Queue(idle.redis, f"victim {death}")
        await victim.look()
        _, [taken] = await victim.exchange([], [Take(work, 8)])

        spread = [unit for unit in taken.units if unit.kind == "q"]
        await victim.exchange([(work, ends.spread(work.plan, unit)) for unit in spread], [])
        await died(idle, f"victim {death}")
        watcher = Queue(idle.redis, "watcher")
        await watcher.look()
        await watcher.look()
    [seen] = (await watcher.look()).runs
    assert seen.suspects > 0
    calls = ScriptedCalls()
    alone = []

    def watching(ask):
        if calls.in_flight == 1:
            alone.append(ask)
        return obliging(ask)

    calls.reply = watching
    jobs = make_jobs(calls=calls)
    jobs.runner.poke()
    ended = await jobs.ended(run)
    assert (ended.status, ended.progress.judged, ended.progress.errored) == ("completed", 10, 0)
    assert len(alone) >= seen.suspects
    assert len(calls.asked) == 20


async def test_units_whose_delivery_was_lost_on_its_way_are_found(idle, make_jobs, calls):
    _, run = await idle.create(eval_spec(10), run_spec())
    jobs = make_jobs()
    await eventually(lambda: calls.answered)
    # As if the reply to a request of this very process had never come.
    _, other = await jobs.create(eval_spec(12), run_spec())
    work = await work_for(jobs, other)
    await jobs.queue.exchange([], [Take(work, 8)])
    jobs.runner._unsure = True
    jobs.runner.poke()
    assert (await jobs.ended(other)).progress.judged == 12
    assert (await jobs.ended(run)).progress.judged == 10


async def test_a_commit_that_is_sent_twice_counts_once(idle):

    _, run = await idle.create(eval_spec(3), run_spec())
    queue, work, [spread] = await taken_by(idle, run, "own")
    await queue.exchange([(work, ends.spread(work.plan, spread))], [])
    _, [taken] = await queue.exchange([], [Take(work, 1)])
    end = ends.answered(work.plan, taken.units[0], StoredAnswer(("x",)), [("answer_calls", 1)])
    added, _ = await queue.exchange([(work, end), (work, end)], [])
    assert added == [1, 0]
    told = await idle.store.get_run(run.eval_id, run.id)
    assert (told.progress.answered, told.usage.answers.calls) == (1, 1)


async def test_after_a_deletion_nothing_comes_back(make_jobs, calls):
    jobs = make_jobs()
    calls.gate.clear()
    _, run = await jobs.create(eval_spec(30), run_spec())
    await eventually(lambda: calls.in_flight == 8)
    await jobs.store.cancel(run)
    await jobs.store.delete_run(run)
    calls.gate.set()
    await eventually(lambda: not any(work.in_work for work in jobs.works.all()))
    assert await jobs.redis.keys(f"llmzoo:eval-run:{run.id}:*") == []
    assert await jobs.redis.hgetall(f"llmzoo:eval-run:{run.id}") == {b"status": b"deleted"}
