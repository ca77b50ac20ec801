"""A dry run counts calls exactly and expects tokens and cost, and asks nobody."""

import pytest

from services.evaluator.specs.dry_run import DryRun
from tests.fakes.spec_prices import Prices, assess
from tests.fakes.spec_readers import (
    completions,
    eval_body,
    openai_eval,
    read_eval,
    read_run,
    string_check,
)


async def counts_of(body, run, prices):
    spec = await read_eval(body)
    request = await read_run(run, spec)
    return DryRun(spec, request.run, prices, assess).counts()


async def test_calls_are_counted_exactly():
    body = eval_body(
        dimensions=["general", "immersion"], mode="ordering", swap="both", judge=["judge", "beta"]
    )
    given = [{"question_id": "3", "turns": ["a" * 40, "b" * 40]}]
    run = {"candidates": ["alpha", {"model": "beta", "answers": given}]}
    prices = Prices()
    counts = await counts_of(body, run, prices)
    # Three questions, the last of two turns; beta has answered that one.
    assert counts.answers == 4 + 2
    # Two orders, two judges; immersion applies to one question.
    assert counts.judge == 3 * 4 + 1 * 4
    assert counts.judge_at_most == 2 * counts.judge
    assert counts.completion_tokens == 10 * (counts.answers + counts.judge)
    assert counts.cost_usd == pytest.approx(0.5 * (counts.answers + counts.judge))
    assert counts.cost_usd_at_most == pytest.approx(counts.answers + counts.judge_at_most)
    assert any("'beta'" in warning for warning in counts.warnings)
    # Answers that are not there yet are as long as expected: 40 letters.
    shown = [body for body in prices.bodies if body["model"] == "judge"]
    assert {len(body["messages"][0]["content"]) for body in shown} == {81, 163}


@pytest.mark.parametrize(
    ("mode", "prose", "told"),
    [
        ("ordering", "undecoded", True),
        ("pairwise", "undecoded", True),
        ("ordering", "read", False),
        # Scores are never read in sentences.
        ("scoring", "undecoded", False),
    ],
)
async def test_that_a_judge_is_held_to_its_form_is_told(mode, prose, told):
    body = eval_body(mode=mode, swap="both", judge={"model": "judge", "prose": prose})
    counts = await counts_of(body, {"candidates": ["alpha", "beta"]}, Prices())
    assert any("prose: undecoded" in warning for warning in counts.warnings) == told


async def test_an_unknown_price_makes_the_sum_unknown():
    counts = await counts_of(eval_body(), {"candidates": ["alpha"]}, Prices(unknown="judge"))
    assert counts.cost_usd is counts.cost_usd_at_most is None
    assert (counts.answers, counts.judge) == (4, 3)


async def test_many_calls_are_expected_from_some():
    body = eval_body(questions=[{"text": "x" * 100}] * 5000)
    prices = Prices()
    counts = await counts_of(body, {"candidates": ["alpha"]}, prices)
    assert (counts.answers, counts.judge) == (5000, 5000)
    assert counts.prompt_tokens == 5000 * 25 + 5000 * 10
    # Answers of twenty tokens, and each judge asked again with its reply.
    assert counts.tokens_at_most == 5000 * (25 + 20) + 5000 * (20 + 20) + 5000 * (40 + 20)
    assert len(prices.bodies) < 1000


async def test_graders_by_rule_need_no_call():
    score = {
        "type": "score_model",
        "name": "s",
        "model": "judge",
        "input": [{"role": "user", "content": "{{sample.output_text}}"}],
    }
    rows = [{"q": "a", "a": "b"}] * 3
    counts = await counts_of(openai_eval(score, string_check()), completions(*rows), Prices())
    assert (counts.answers, counts.judge) == (3, 3)


async def test_given_reviews_ask_nobody():
    review = {"question_id": "1", "judge": "old", "lineup": ["x"], "scores": [3]}
    counts = await counts_of(eval_body(), {"reviews": [review]}, Prices())
    assert (counts.answers, counts.judge, counts.cost_usd) == (0, 0, 0.0)
