"""The store against a real Redis: evals and runs made, found, told, cancelled, deleted."""

from __future__ import annotations

import asyncio

import pytest

from services.evaluator.jobs.creation import MAX_OPEN_RUNS, MAX_RUNS_OF_EVAL
from services.evaluator.jobs.ids import Ids
from services.evaluator.jobs.store import EvalStore
from shared.errors import Conflict, Gone, InvalidRequest, InvalidSpec, NotFound, Overloaded
from shared.protocol.evals.item import OverrideRequest
from shared.protocol.evals.run import RunStatus
from shared.protocol.evals.spec import Mode
from tests.fakes.eval_specs import eval_spec, given_candidate, run_spec

pytestmark = pytest.mark.redis


@pytest.fixture
def store(redis):
    return EvalStore(redis, Ids("token"))


async def made_run(store, spec=None, run=None):
    evaluation, _ = await store.create_eval(spec or eval_spec())
    run, _ = await store.create_run(evaluation, run or run_spec())
    return evaluation, run


async def test_an_eval_is_found_by_its_content(store):
    first, new = await store.create_eval(eval_spec(name="one"))
    assert new
    again, new = await store.create_eval(eval_spec(name="one"))
    assert (again, new) == (first, False)
    other, new = await store.create_eval(eval_spec(name="two"))
    assert new
    forced, new = await store.create_eval(eval_spec(name="one"), force_new=True)
    assert new
    assert len({first.id, other.id, forced.id}) == 3
    assert await store.get_eval(first.id) == first
    assert len(first.spec["questions"]) == first.question_count == 6


async def test_a_renamed_eval_is_no_more_the_one_of_its_old_content(store):
    first, _ = await store.create_eval(eval_spec(name="one"))
    renamed = await store.update_eval(first.id, "two", {"a": "b"})
    assert (renamed.spec["name"], renamed.spec["metadata"]) == ("two", {"a": "b"})
    assert await store.get_eval(first.id) == renamed
    other, new = await store.create_eval(eval_spec(name="one"))
    assert new
    assert other.id != first.id


async def test_evals_are_listed_in_pages_both_ways_without_questions(store):
    ids = [(await store.create_eval(eval_spec(name=str(n))))[0].id for n in range(5)]
    newest, more = await store.list_evals(None, 2)
    assert more
    rest, more = await store.list_evals(newest[-1].id, 10)
    assert not more
    assert [each.id for each in newest + rest] == ids[::-1]
    assert {len(each.spec["questions"]) for each in newest} == {0}
    oldest, _ = await store.list_evals(None, 10, "asc")
    assert [each.id for each in oldest] == ids
    with pytest.raises(InvalidRequest):
        await store.list_evals("eval_x", 2)


async def test_the_same_run_is_found_and_not_made_again(store):
    evaluation, run = await made_run(store)
    again, new = await store.create_run(evaluation, run_spec())
    assert (again, new) == (run, False)
    other, new = await store.create_run(evaluation, run_spec(concurrency=3))
    assert new
    forced, new = await store.create_run(evaluation, run_spec(), force_new=True)
    assert new
    assert len({run.id, other.id, forced.id}) == 3
    # The newest of this content is it now.
    assert (await store.create_run(evaluation, run_spec()))[0].id == forced.id


async def test_many_that_make_the_same_run_at_once_make_one(store):
    evaluation, _ = await store.create_eval(eval_spec())
    made = await asyncio.gather(*(store.create_run(evaluation, run_spec()) for _ in range(20)))
    assert len({run.id for run, _ in made}) == 1
    assert sum(new for _, new in made) == 1


async def test_a_new_run_is_queued_with_its_counts(store):
    evaluation, run = await made_run(
        store, eval_spec(6, mode=Mode.PAIRWISE), run_spec("a", "b", "c")
    )
    assert run.status is RunStatus.QUEUED
    assert (run.eval_id, run.candidates) == (evaluation.id, ["a", "b", "c"])
    assert (run.progress.total, run.progress.queued, run.progress.answers_total) == (18, 18, 18)
    items, more = await store.output_items(evaluation, run, None, 5)
    assert more
    assert {item.status for item in items} == {"pending"}
    assert [item.lineup for item in items[:3]] == [["a", "b"], ["a", "c"], ["b", "c"]]


async def test_what_needs_nothing_is_complete_at_once(store):
    spec = eval_spec(2, dimensions=[], judges=[])
    candidates = [given_candidate("mine", 2)]
    evaluation, run = await made_run(store, spec, run_spec(candidates=candidates))
    assert run.status is RunStatus.COMPLETED
    assert (run.progress.total, run.progress.done, run.progress.answered) == (2, 2, 2)
    items, _ = await store.output_items(evaluation, run, None, 10)
    assert [item.answers[0].turns for item in items] == [["mine says 0."], ["mine says 1."]]
    material = await store.material(evaluation, run)
    assert [row.text for row in material.answer_rows()] == ["mine says 0.", "mine says 1."]
    assert len(material.digest) == 64


async def test_runs_are_listed_by_status(store):
    evaluation, first = await made_run(store)
    second, _ = await store.create_run(evaluation, run_spec(name="2"))
    await store.cancel(first)
    canceled, _ = await store.list_runs(evaluation, None, 10, status=RunStatus.CANCELED)
    assert [run.id for run in canceled] == [first.id]
    both, more = await store.list_runs(evaluation, None, 1)
    assert ([run.id for run in both], more) == ([second.id], True)


async def test_cancelling_is_idempotent_and_deleting_waits_for_it(store, redis):
    evaluation, run = await made_run(store)
    with pytest.raises(Conflict):
        await store.delete_run(run)
    with pytest.raises(Conflict):
        await store.delete_eval(evaluation.id)
    canceled = await store.cancel(run)
    assert (canceled.status, canceled.reason) == (RunStatus.CANCELED, "user")
    assert await store.cancel(run, "budget") == canceled
    await store.delete_run(run)
    with pytest.raises(Gone):
        await store.get_run(evaluation.id, run.id)
    with pytest.raises(Gone):
        await store.delete_run(run)
    assert (await store.list_runs(evaluation, None, 10))[0] == []
    await store.delete_eval(evaluation.id)
    with pytest.raises(Gone):
        await store.get_eval(evaluation.id)
    # Only the deleted run's word for it is left.
    left = [key for key in await redis.keys("*") if await redis.ttl(key) > 3600]
    assert left == []


async def test_a_deleted_eval_takes_its_runs_along(store):
    evaluation, run = await made_run(store)
    await store.cancel(run)
    await store.delete_eval(evaluation.id)
    with pytest.raises(Gone):
        await store.get_run(evaluation.id, run.id)
    again, new = await store.create_eval(eval_spec())
    assert new
    assert (await store.create_run(again, run_spec()))[1]


async def test_unknown_ids_are_not_found_and_foreign_runs_neither(store):
    evaluation, run = await made_run(store)
    other, _ = await store.create_eval(eval_spec(1))
    for eval_id, run_id in [
        ("eval_x", run.id),
        (evaluation.id, "evalrun_x"),
        (evaluation.id, f"evalrun_{'0' * 32}"),
        (other.id, run.id),
    ]:
        with pytest.raises(NotFound):
            await store.get_run(eval_id, run_id)
    for item in ("item_6", "item_-1", "item_01", "6", "item_²", "item_" + "9" * 30):
        with pytest.raises(NotFound):
            await store.get_item(evaluation, run, item)


async def test_everything_is_bounded_and_expires(store, redis):
    evaluation, _ = await store.create_eval(eval_spec(1))
    for number in range(MAX_OPEN_RUNS):
        await store.create_run(evaluation, run_spec(name=str(number)))
    with pytest.raises(Overloaded):
        await store.create_run(evaluation, run_spec())
    for run in (await store.list_runs(evaluation, None, 100))[0]:
        await store.cancel(run)
    for number in range(MAX_RUNS_OF_EVAL - MAX_OPEN_RUNS):
        await store.create_run(evaluation, run_spec(name=f"more {number}"))
    with pytest.raises(Overloaded):
        await store.create_run(evaluation, run_spec())
    lasting = {b"llmzoo:evals", b"llmzoo:eval-runs-open"}
    assert {key for key in await redis.keys("*") if await redis.ttl(key) < 0} == lasting


async def test_an_override_needs_an_item_that_ended_and_a_verdict_that_fits(store):
    evaluation, run = await made_run(store)
    ask = {"author": "me", "reason": "I read it"}
    with pytest.raises(Conflict):
        await store.override(evaluation, run, "item_0", OverrideRequest(scores=[5.0], **ask))
    wrong = [{}, {"scores": [5.0], "ranks": [1]}, {"scores": [11.0]}, {"ranks": [2]},
             {"label": "good"}, {"scores": [1.0, 2.0]}]  # fmt: skip
    for verdict in wrong:
        with pytest.raises(InvalidSpec):
            await store.override(evaluation, run, "item_0", OverrideRequest(**ask, **verdict))
