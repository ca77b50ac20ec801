"""What a dry run foretells is what the run then uses, on models that count in a plain way."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import pytest

from services.evaluator.calling.tariff import Tariff
from services.evaluator.judging.choosing import assessment_of
from services.evaluator.questions import load
from services.evaluator.specs.dry_run import DryRun
from services.evaluator.specs.reader import SpecReader
from tests.fakes.counting_models import CountingModels
from tests.fakes.spec_readers import Fleet, eval_body, no_earlier

pytestmark = pytest.mark.redis

TEXTS = {
    "en": "Tea is drunk in the afternoon, when the light falls low over the quiet harbour. ",
    "zh": "下午喝茶的时候港口很安静。光线很低。",
    "ja": "午後にお茶を飲むとき、港は静かで、光は低くさしています。",
}
SPECS: dict[str, dict[str, Any]] = {
    "scoring": {"mode": "scoring", "questions": "en"},
    "alone, two turns, references": {
        "mode": "scoring",
        "alone": True,
        "questions": "en-two-turn",
        "reference": True,
    },
    "pairwise in both orders": {"mode": "pairwise", "swap": "both", "questions": "zh"},
    "ordering by text, rotated": {
        "mode": "ordering",
        "swap": "rotate",
        "questions": "zh",
        "judge": {"model": "judge", "response_format": "text"},
    },
    "repeats and a panel": {
        "mode": "ordering",
        "repeats": 2,
        "dimensions": ["general", "coherence"],
        "judge": ["judge", "judge-2"],
        "questions": "en+zh",
    },
    "short questions": {
        "mode": "scoring",
        "questions": [{"text": "Why?"}, {"text": "How so?"}],
        "judge": {"model": "judge", "sampling": {"max_tokens": 100}},
    },
}


async def foretold(spec: dict[str, Any], candidates: list[Any], max_tokens: int) -> Any:
    """Return a spec and a run of some of its questions, and what their dry run says."""
    fleet = Fleet("a", "b", "judge", "judge-2")
    reader = SpecReader(fleet.models, load, frozenset(), fleet.ask)
    evaluation = await reader.eval_spec(eval_body(**spec))
    few = evaluation.questions[:: max(1, len(evaluation.questions) // 5)]
    evaluation = evaluation.model_copy(update={"questions": few})
    body = {"candidates": candidates, "max_tokens": max_tokens}
    run = (await reader.run_request(body, evaluation, no_earlier)).run
    # Nobody was asked anything yet, so nothing is known of the models.
    return evaluation, run, DryRun(evaluation, run, Tariff(fleet), assessment_of).counts()


@pytest.mark.parametrize("counts_schemas", [False, True], ids=["messages", "schemas too"])
@pytest.mark.parametrize(("name", "language"), list(zip(SPECS, cycle(TEXTS))))
async def test_calls_are_foretold_exactly_and_tokens_nearly(
    make_jobs, name, language, counts_schemas
):
    max_tokens = 40 if name == "short questions" else 300
    spec, run, counts = await foretold(SPECS[name], ["a", "b"], max_tokens)
    models = CountingModels(TEXTS[language], counts_schemas=counts_schemas)
    jobs = make_jobs(calls=models, assessing=assessment_of, width=64)
    ended, _ = await jobs.finished(spec, run)
    assert ended.progress.judged == ended.progress.total
    assert (counts.answers, counts.judge) == (ended.usage.answers.calls, ended.usage.judge.calls)
    assert counts.prompt_tokens == pytest.approx(models.prompt, rel=0.15)
    assert counts.completion_tokens == pytest.approx(models.completion, rel=0.15)
    assert models.prompt + models.completion <= counts.tokens_at_most


async def test_answers_that_are_there_count_as_they_are(make_jobs):
    given = [
        {"question_id": question.id, "turns": [TEXTS["ja"] * 20] * len(question.turns)}
        for question in load("en")[::16]
    ]
    candidates = ["a", {"name": "old", "answers": given}]
    spec, run, counts = await foretold(SPECS["scoring"], candidates, 100)
    models = CountingModels(TEXTS["en"])
    await make_jobs(calls=models, assessing=assessment_of, width=64).finished(spec, run)
    assert counts.answers + counts.judge == len(models.asked)
    assert counts.prompt_tokens == pytest.approx(models.prompt, rel=0.15)


async def test_at_most_is_each_answer_to_its_end_and_no_verdict_readable(make_jobs):
    spec, run, counts = await foretold(SPECS["scoring"], ["a", "b"], 600)
    models = CountingModels(TEXTS["zh"], typical=4000, mute=True)
    jobs = make_jobs(calls=models, assessing=assessment_of, width=64)
    ended, _ = await jobs.finished(spec, run)
    assert ended.progress.undecoded == ended.progress.total
    assert ended.usage.judge.calls == counts.judge_at_most
    used = models.prompt + models.completion
    assert counts.tokens_at_most == pytest.approx(used, rel=0.05)
