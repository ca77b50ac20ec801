"""Runs to report on, with figures made by hand: plausible ones, and no statistics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from services.evaluator.reports.data import ReportData
from shared.protocol.evals.item import (
    ItemAnswer,
    ItemError,
    ItemStatus,
    OutputItem,
    Override,
    Verdict,
)
from shared.protocol.evals.run import CallUsage, ModelUsage, Progress, Run, RunStatus, Usage
from shared.protocol.evals.spec import EvalSpec, Judge, Mode, Question, Swap
from tests.fakes.report_figures import results

CANDIDATES = ("alder-7b", "birch-13b", "cedar-7b-4bit", "demo")
DIMENSIONS = ("general", "relevance", "coherence")
CATEGORIES = ("generic", "knowledge", "writing")
BEGUN = 1_790_000_000

_SENTENCES = (
    "A plain answer begins with the thing that was asked for.",
    "It names its source, says how sure it is, and stops.",
    "Then come the exceptions, each with the reason for it.",
    "A second paragraph would only say the same again at greater length.",
)


def question(number: int, category: str) -> Question:
    return Question(
        id=f"q{number}",
        turns=[f"What is to be said of matter {number}, and why does it concern anyone?"],
        category=category,
        language="zh" if number % 3 == 0 else "en",
    )


def answer(number: int, candidate: str) -> ItemAnswer:
    length = 1 + (number + len(candidate)) % len(_SENTENCES)
    text = f"{candidate} on matter {number}. " + " ".join(_SENTENCES[:length])
    return ItemAnswer(candidate=candidate, turns=[text], finish_reason="stop")


def ranks_for(number: int, lineup: Sequence[str]) -> list[int]:
    """Better candidates stand first in the alphabet, with some noise."""
    strength = {
        name: CANDIDATES.index(name) + (number * 7 + len(name) * 3) % 5 / 2 for name in lineup
    }
    return [1 + sum(other < strength[name] for other in strength.values()) for name in lineup]


def item(number: int, dimension: str, judge: str, asked: Question, turned: bool) -> OutputItem:
    lineup = list(reversed(CANDIDATES)) if turned else list(CANDIDATES)
    ranks = ranks_for(number, lineup)
    return OutputItem(
        id=f"item_{number}",
        run_id="evalrun_1",
        question=asked,
        dimension=dimension,
        judge=judge,
        lineup=lineup,
        repeat=0,
        status=ItemStatus.JUDGED,
        answers=[answer(int((asked.id or "q0")[1:]), name) for name in lineup],
        judge_text=f"Review {number}: the order follows from {dimension}. {ranks}",
        verdict=Verdict(ranks=ranks, rule="schema"),
        model_version=f"{judge}-2026-10",
        usage={"prompt_tokens": 900, "completion_tokens": 80, "cost_usd": 0.0012},
    )


def run_items(questions: int = 12) -> list[OutputItem]:
    """Each question in each dimension in both orders; some of them went another way."""
    looks = product(range(1, questions + 1), DIMENSIONS, (False, True))
    items = [
        item(place, dimension, "judge-large", question(number, CATEGORIES[number % 3]), turned)
        for place, (number, dimension, turned) in enumerate(looks)
    ]
    items[3] = items[3].model_copy(
        update={
            "status": ItemStatus.UNDECODED,
            "verdict": Verdict(rule="two orders in one text"),
            "judge_text": "Both orders have something for them, and I give both.",
        }
    )
    items[5] = items[5].model_copy(
        update={"status": ItemStatus.ERRORED, "verdict": None, "judge_text": None, "error": FAULT}
    )
    items[4] = overridden(items[4])
    return items


FAULT = ItemError(
    stage="judge", message="the judge's server was silent", code="upstream_timeout", status=504
)


def overridden(judged: OutputItem) -> OutputItem:
    verdict = Verdict(ranks=[4, 3, 2, 1], rule="override")
    override = Override(
        author="Ada Reader",
        reason="The judge read the first answer as the third one.",
        at=BEGUN + 7200,
        verdict=verdict,
        replaced=judged.verdict,
    )
    return judged.model_copy(update={"verdict": verdict, "overrides": [override]})


def usage() -> Usage:
    answers = CallUsage(calls=48, prompt_tokens=4100, completion_tokens=9600, cost_usd=0.031)
    judge = CallUsage(calls=74, prompt_tokens=66_600, completion_tokens=5920, cost_usd=0.0888)
    models = [
        ModelUsage(model="alder-7b", **answers.model_dump()),
        ModelUsage(model="judge-large", **judge.model_dump()),
    ]
    return Usage(answers=answers, judge=judge, models=models)


def run(items: Sequence[OutputItem], candidates: Sequence[str]) -> Run:
    counts = {status: sum(each.status is status for each in items) for status in ItemStatus}
    total = len(items)
    return Run(
        id="evalrun_1",
        eval_id="eval_1",
        name="Trees, four of them, in three dimensions",
        status=RunStatus.COMPLETED,
        created_at=BEGUN,
        started_at=BEGUN + 2,
        finished_at=BEGUN + 761,
        candidates=list(candidates),
        progress=Progress(
            total=total,
            queued=0,
            answering=0,
            judging=0,
            done=total,
            judged=counts[ItemStatus.JUDGED],
            undecoded=counts[ItemStatus.UNDECODED],
            errored=counts[ItemStatus.ERRORED],
            answers_total=48,
            answered=48,
        ),
        usage=usage(),
    )


def report_of(items: list[OutputItem], candidates: Sequence[str] = CANDIDATES) -> ReportData:
    questions = {each.question.id: each.question for each in items}
    spec = EvalSpec(
        name="Trees",
        questions=list(questions.values()),
        dimensions=["general", "relevance", "coherence"],
        mode=Mode.ORDERING,
        judges=[Judge(model="judge-large")],
        swap=Swap.BOTH,
    )
    return ReportData(results(items, candidates), spec, run(items, candidates), items)


def items_of_reviews(folder: Path) -> list[OutputItem]:
    """The real reviews as items, each file's dimension being its folder's name."""
    items: list[OutputItem] = []
    for file in sorted((folder / "reviews").rglob("review.jsonl")):
        for line in file.read_text(encoding="utf-8").split("\n"):
            if line.strip():
                items.append(_reviewed(len(items), file.parent.name, json.loads(line)))
    return items


def _reviewed(number: int, dimension: str, row: dict) -> OutputItem:
    told = row["metadata"]
    decoded = -1 not in row["order"]
    pairs = zip(told["model_ids"], told["answers"], strict=True)
    return OutputItem(
        id=f"item_{number}",
        run_id="evalrun_1",
        question=Question(
            id=str(row["question_id"]),
            turns=[told["question"]],
            category=row["category"],
            language=row["lang"],
        ),
        dimension=dimension,
        judge=row["reviewer_id"],
        lineup=told["model_ids"],
        repeat=0,
        status=ItemStatus.JUDGED if decoded else ItemStatus.UNDECODED,
        answers=[ItemAnswer(candidate=name, turns=[text]) for name, text in pairs],
        judge_text=row["text"],
        verdict=Verdict(ranks=row["order"] if decoded else None, rule="chain"),
    )
