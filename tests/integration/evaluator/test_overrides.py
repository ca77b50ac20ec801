"""A person's verdict in the place of a judge's, with its history."""

from __future__ import annotations

import asyncio

import pytest

from shared.errors import Conflict
from shared.protocol.evals.item import OverrideRequest
from tests.fakes.eval_calls import Said, obliging
from tests.fakes.eval_specs import eval_spec, run_spec

pytestmark = pytest.mark.redis


def asked(score, author="me"):
    return OverrideRequest(author=author, reason="I read it", scores=[score])


async def test_a_verdict_is_replaced_and_what_stood_there_is_kept(jobs):
    evaluation, made = await jobs.create(eval_spec(3), run_spec())
    run = await jobs.ended(made)
    before = (await jobs.store.material(evaluation, run)).digest
    await jobs.store.override(evaluation, run, "item_1", asked(2.0))
    item = await jobs.store.override(evaluation, run, "item_1", asked(3.0, "you"))
    assert item.verdict.scores == [3.0]
    assert [(each.author, each.replaced.scores) for each in item.overrides] == [
        ("me", [7.0]),
        ("you", [2.0]),
    ]
    material = await jobs.store.material(evaluation, run)
    row = material.reviews()[1]
    assert (row.human, row.scores, row.replaced_ranks) == (True, (3.0,), (1,))
    assert material.digest != before
    assert material.results[1].verdict.scores == [7.0]


async def test_an_unreadable_one_is_judged_by_a_person_and_not_asked_again(jobs, calls):
    calls.reply = lambda ask: Said("Hm.") if ask.model == "judge" else obliging(ask)
    evaluation, made = await jobs.create(eval_spec(3), run_spec())
    run = await jobs.ended(made)
    item = await jobs.store.override(evaluation, run, "item_1", asked(2.0))
    assert (item.status, item.judge_text) == ("judged", "Hm.")
    run = await jobs.store.get_run(run.eval_id, run.id)
    assert (run.progress.judged, run.progress.undecoded) == (1, 2)
    left, _ = await jobs.store.output_items(evaluation, run, None, 10, status="undecoded")
    assert [each.id for each in left] == ["item_0", "item_2"]
    calls.asked.clear()
    calls.reply = obliging
    run = await jobs.store.resume(run, "undecoded")
    jobs.runner.poke()
    run = await jobs.ended(run)
    assert (run.progress.judged, len(calls.asked)) == (3, 2)


async def test_of_many_at_once_none_is_lost(jobs):
    evaluation, made = await jobs.create(eval_spec(1), run_spec())
    run = await jobs.ended(made)
    await asyncio.gather(
        *(jobs.store.override(evaluation, run, "item_0", asked(float(n))) for n in range(1, 11))
    )
    item = await jobs.store.get_item(evaluation, run, "item_0")
    chain = [each.verdict.scores for each in item.overrides]
    assert len(chain) == 10
    assert [each.replaced.scores for each in item.overrides] == [[7.0], *chain[:-1]]


async def test_answers_have_no_verdict_to_replace(jobs):
    spec = eval_spec(2, dimensions=[], judges=[])
    evaluation, made = await jobs.create(spec, run_spec())
    run = await jobs.ended(made)
    with pytest.raises(Conflict):
        await jobs.store.override(evaluation, run, "item_0", asked(1.0))
