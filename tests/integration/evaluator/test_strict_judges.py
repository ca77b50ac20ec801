"""A judge that is held to its form, from the spec to the item, and scales of told verdicts."""

from __future__ import annotations

import pytest

from services.evaluator.figure_makers import figure_makers
from services.evaluator.judging.choosing import assessment_of
from shared.errors import InvalidSpec
from shared.protocol.evals.item import OverrideRequest
from shared.protocol.evals.run import GivenReview
from shared.protocol.evals.spec import Judge, Mode
from tests.fakes.eval_calls import Said
from tests.fakes.eval_specs import eval_spec, run_spec

pytestmark = pytest.mark.redis

SENTENCES = "Overall, Assistant 1 is better than Assistant 2."


@pytest.mark.parametrize(
    ("prose", "second", "ended"),
    [
        ("read", "", ("judged", "prose_pair", 1)),
        ("undecoded", "Assistant 2 > Assistant 1", ("judged", "chain", 2)),
        ("undecoded", SENTENCES, ("undecoded", "prose_only", 2)),
    ],
)
async def test_what_stands_in_sentences_alone(make_jobs, calls, prose, second, ended):
    def reply(ask):
        if ask.model != "judge":
            return Said(f"{ask.model} says something.")
        return Said(second if len(ask.body["messages"]) > 2 else SENTENCES)

    calls.reply = reply
    jobs = make_jobs(assessing=assessment_of)
    judge = Judge(model="judge", prose=prose, response_format="text")
    spec = eval_spec(1, mode=Mode.ORDERING, judges=[judge])
    evaluation, made = await jobs.create(spec, run_spec("a", "b"))
    run = await jobs.ended(made)
    item = await jobs.store.get_item(evaluation, run, "item_0")
    assert (item.status, item.verdict.rule, calls.models()["judge"]) == ended
    material = await jobs.store.material(evaluation, run)
    makers = figure_makers()
    page = makers.report("html", "figures", material, makers.results(material), [item]).decode()
    assert ("left undecoded" in page) == (prose == "undecoded")


def told(*scores, text=None):
    scored = None if text else list(scores)
    return GivenReview(
        question_id="0", dimension="general", judge="old", lineup=["a", "b"],
        scores=scored, text=text,
    )  # fmt: skip


@pytest.mark.parametrize("review", [told(0, 10), told(text="0 10")])
async def test_told_scores_may_be_0_and_the_composite_is_from_0_to_1(make_jobs, review):
    jobs = make_jobs(assessing=assessment_of)
    _, material = await jobs.finished(eval_spec(1), run_spec("a", "b", reviews=[review]))
    results = figure_makers().results(material)
    assert results.composite == [("b", 1.0), ("a", 0.0)]
    assert results.scales == {"general": (0, 10)}


async def test_a_person_scores_on_the_scale_that_the_judge_was_asked_on(make_jobs, calls):
    calls.reply = lambda _: Said("Score: 7")
    jobs = make_jobs(assessing=assessment_of)
    judge = Judge(model="judge", response_format="text")
    evaluation, made = await jobs.create(eval_spec(1, judges=[judge]), run_spec())
    run = await jobs.ended(made)
    with pytest.raises(InvalidSpec, match="from 1 to 10"):
        await jobs.store.override(evaluation, run, "item_0", by_hand(0.5))
    await jobs.store.override(evaluation, run, "item_0", by_hand(1))
    results = figure_makers().results(await jobs.store.material(evaluation, run))
    assert results.composite == [("candidate", 0.0)]
    assert results.scales == {"general": (1, 10)}


def by_hand(score):
    return OverrideRequest(author="me", reason="I read it", scores=[score])
