"""Redis frozen, killed or emptied while a run is worked on."""

from __future__ import annotations

import pytest

from services.evaluator.jobs.connection import StoreUnreachable
from shared.errors import Gone, NotFound
from shared.registry import keys
from tests.fakes.eval_calls import obliging
from tests.fakes.eval_specs import eval_spec, run_spec
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.redis


@pytest.fixture
async def jobs(make_jobs):
    return make_jobs(socket_timeout=1.0)


async def half_done(jobs, calls):
    """Start a run whose calls stop coming back in the middle; return it."""

    def closing(ask):
        if len(calls.answered) >= 30:
            calls.gate.clear()
        return obliging(ask)

    calls.reply = closing
    evaluation, run = await jobs.create(eval_spec(50), run_spec())
    await eventually(lambda: calls.in_flight == 8 and not calls.gate.is_set())
    calls.reply = obliging
    return evaluation, run


async def test_results_wait_for_a_redis_that_went_silent(jobs, calls, redis_server):
    _, run = await half_done(jobs, calls)
    redis_server.freeze()
    calls.gate.set()
    await eventually(lambda: not jobs.runner.reachable)
    assert calls.in_flight == 0
    with pytest.raises(StoreUnreachable):
        await jobs.store.get_run(run.eval_id, run.id)
    redis_server.thaw()
    ended = await jobs.ended(run)
    assert (ended.status, ended.progress.judged) == ("completed", 50)
    assert (ended.usage.answers.calls, ended.usage.judge.calls) == (50, 50)
    assert len(calls.asked) == len({ask.key for ask in calls.asked}) == 100
    assert ended.usage.possibly_repeated == 0


@pytest.mark.parametrize("how", ["emptied", "killed"])
async def test_what_redis_lost_is_reported_lost_and_not_as_if_it_never_was(
    jobs, calls, redis_server, make_jobs, how
):
    old, done = await jobs.create(eval_spec(2), run_spec())
    assert (await jobs.ended(done)).status == "completed"
    evaluation, running = await half_done(jobs, calls)
    if how == "emptied":
        await jobs.redis.flushall()
    else:
        redis_server.kill()
        redis_server.start()
    await eventually(lambda: calls.in_flight == 0)  # its calls are closed

    async def reported():
        try:
            run = await jobs.store.get_run(evaluation.id, running.id)
        except (Gone, StoreUnreachable):
            return False
        return run.status == "failed" and "Redis lost" in run.error

    await eventually(reported)
    run = await jobs.store.get_run(evaluation.id, running.id)
    assert (run.progress.total, run.progress.done, run.progress.answered) == (50, 0, 0)
    other = make_jobs()  # which was not there
    for store in (jobs.store, other.store):
        items, _ = await store.output_items(evaluation, run, None, 100)
        assert {item.status for item in items} == {"pending"}
        assert [each.id for each in (await store.list_evals(None, 10))[0]] == [evaluation.id]
        assert await store.kept_since() >= run.created_at
        with pytest.raises(Gone):
            await store.get_eval(old.id)
        with pytest.raises(Gone):
            await store.get_run(old.id, done.id)
        with pytest.raises(NotFound):
            await store.get_eval(f"eval_{'0' * 32}")
    calls.gate.set()
    again, _ = await jobs.store.create_run(evaluation, run_spec(), force_new=True)
    jobs.runner.poke()
    assert (await jobs.ended(again)).status == "completed"


async def test_a_run_whose_eval_expired_ends_as_failed(make_jobs, calls):
    jobs = make_jobs()
    await jobs.runner.stop()
    evaluation, run = await jobs.create(eval_spec(5), run_spec())
    await jobs.redis.delete(keys.evaluation(evaluation.id))
    other = make_jobs()
    other.runner.poke()
    ended = await other.ended(run)
    assert (ended.status, "expired" in ended.error) == ("failed", True)
    assert calls.asked == []


async def test_a_run_that_lost_its_stream_ends_and_others_go_on(make_jobs, calls):
    jobs = make_jobs()
    calls.gate.clear()
    evaluation, broken = await jobs.create(eval_spec(30), run_spec())
    await eventually(lambda: calls.in_flight == 8)
    await jobs.redis.delete(keys.evaluation_run_part(broken.id, "work"))
    other, _ = await jobs.store.create_run(evaluation, run_spec("other"))
    jobs.runner.poke()
    calls.gate.set()
    assert (await jobs.ended(other)).status == "completed"
    ended = await jobs.ended(broken)
    assert (ended.status, "expired" in ended.error) == ("failed", True)


async def test_a_script_unknown_to_a_new_redis_is_told_again(jobs, calls):
    calls.gate.clear()
    _, run = await jobs.create(eval_spec(5), run_spec())
    await eventually(lambda: calls.in_flight == 5)
    await jobs.redis.script_flush()
    calls.gate.set()
    assert (await jobs.ended(run)).progress.judged == 5
