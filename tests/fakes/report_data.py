"""Runs to report on, with figures made by hand: plausible ones, and no statistics."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import combinations
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
from shared.protocol.evals.results import (
    Agreement,
    AnswerMetrics,
    CandidateFigures,
    Figure,
    Interval,
    LengthBias,
    PairFigures,
    PositionBias,
    Results,
    ResultWarning,
    Scope,
)
from shared.protocol.evals.run import CallUsage, ModelUsage, Progress, Run, RunStatus, Usage
from shared.protocol.evals.spec import EvalSpec, Judge, Mode, Question, Swap

CANDIDATES = ("alder-7b", "birch-13b", "cedar-7b-4bit", "demo")
DIMENSIONS = ("general", "relevance", "coherence")
CATEGORIES = ("generic", "knowledge", "writing")
DIGEST = "5f2c" * 16
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
    items = [
        item(0, dimension, "judge-large", question(number, CATEGORIES[number % 3]), turned)
        for number in range(1, questions + 1)
        for dimension in DIMENSIONS
        for turned in (False, True)
    ]
    items = [
        item(place, each.dimension or "", "judge-large", each.question, bool(place % 2))
        for place, each in enumerate(items)
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
    items[8] = overridden(items[8])
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


def figure(value: float, half: float, n: int = 30) -> Figure:
    return Figure(value=value, interval=Interval(low=value - half, high=value + half), n=n)


def scope(items: Sequence[OutputItem], names: Sequence[str], **narrowed: str) -> Scope:
    decoded = [each for each in items if each.verdict and each.verdict.ranks]
    figures = sorted(
        (candidate_figures(name, decoded) for name in names),
        key=lambda each: each.mean_rank.value or 0,
    )
    fields = {"dimension": None, "category": None, "language": None, "judge": None}
    ordered = [each.candidate for each in figures]
    return Scope(
        **{**fields, **narrowed},
        questions=len({each.question.id for each in items}),
        reviews=len(items),
        undecoded=sum(each.status is ItemStatus.UNDECODED for each in items),
        candidates=figures,
        pairs=[pair_figures(one, other, decoded) for one, other in combinations(ordered, 2)],
        groups=[ordered[:2], ordered[1:3], ordered[3:]] if len(ordered) > 3 else [ordered],
    )


def candidate_figures(name: str, items: Sequence[OutputItem]) -> CandidateFigures:
    ranks = [rank for each in items for at, rank in placed(each) if at == name] or [1]
    mean = sum(ranks) / len(ranks)
    wins, ties, losses = record(name, items)
    lengths = [
        len(" ".join(each.turns or [])) for row in items for each in row.answers
        if each.candidate == name
    ] or [0]
    return CandidateFigures(
        candidate=name,
        mean_rank=figure(mean, 0.25, len(ranks)),
        rank_score=figure(sum(10 / rank for rank in ranks) / len(ranks), 0.4, len(ranks)),
        win_rate=figure((wins + ties / 2) / max(wins + ties + losses, 1), 0.06, len(ranks)),
        wins=wins,
        ties=ties,
        losses=losses,
        rating=figure(1200 - 80 * mean, 35, len(ranks)),
        rating_length_controlled=figure(1150 - 60 * mean, 45, len(ranks)),
        mean_length=sum(lengths) / len(lengths),
    )


def placed(each: OutputItem) -> Iterable[tuple[str, int]]:
    assert each.verdict
    return zip(each.lineup, each.verdict.ranks or [], strict=False)


def record(name: str, items: Sequence[OutputItem], against: str | None = None) -> tuple[int, ...]:
    wins = ties = losses = 0
    for each in items:
        ranks = dict(placed(each))
        for other, rank in ranks.items():
            if name not in ranks or other == name or against not in {None, other}:
                continue
            wins += ranks[name] < rank
            ties += ranks[name] == rank
            losses += ranks[name] > rank
    return wins, ties, losses


def pair_figures(one: str, other: str, items: Sequence[OutputItem]) -> PairFigures:
    wins, ties, losses = record(one, items, other)
    difference = (wins - losses) / max(wins + ties + losses, 1)
    return PairFigures(
        first=one,
        second=other,
        wins=wins,
        ties=ties,
        losses=losses,
        difference=figure(difference, 0.15),
        p=0.0004 if abs(difference) > 0.2 else 0.2,
        p_holm=0.0024 if abs(difference) > 0.2 else 0.6,
        separable=abs(difference) > 0.2,
    )


def results(items: Sequence[OutputItem], candidates: Sequence[str]) -> Results:
    scopes = [scope(items, candidates)]
    for name, of in (
        ("dimension", lambda each: each.dimension),
        ("category", lambda each: each.question.category),
        ("language", lambda each: each.question.language),
    ):
        for value in dict.fromkeys(of(each) for each in items):
            there = [each for each in items if of(each) == value]
            scopes.append(scope(there, candidates, **{name: value}))
    judges = dict.fromkeys(each.judge or "" for each in items)
    return Results(
        run_id="evalrun_1",
        eval_id="eval_1",
        digest=DIGEST,
        complete=True,
        mode="ordering",
        seed=0,
        resamples=2000,
        scopes=scopes,
        composite=[(each.candidate, 5 - (each.mean_rank.value or 0)) for each in scopes[0].candidates],
        weights={"general": 2.0, "relevance": 1.0, "coherence": 1.0},
        position=[
            PositionBias(
                judge=judge,
                first_share=figure(0.618, 0.03, 400),
                consistent=figure(0.65, 0.05, 200),
                reversed=figure(0.1, 0.03, 200),
                strict_ties=41,
            )
            for judge in judges
        ],
        length=[
            LengthBias(
                dimension=dimension,
                longer_share=figure(0.7 + 0.02 * place, 0.04, 300),
                coefficient=figure(0.41, 0.1, 300),
            )
            for place, dimension in enumerate((None, *DIMENSIONS))
        ],
        agreement=[
            Agreement(
                between="humans",
                names=[*judges, "Ada Reader"],
                alpha=figure(0.46, 0.12, 40),
                same_winner=figure(0.71, 0.09, 40),
            )
        ],
        answers=[
            AnswerMetrics(
                candidate=name,
                language=None,
                answers=12,
                values={"distinct_2": figure(0.8, 0.02), "self_bleu": figure(21.5, 1.5)},
            )
            for name in candidates
        ],
        warnings=[
            ResultWarning(code="few_questions", text="12 questions are few: intervals are wide."),
            ResultWarning(code="undecoded", text="1.4 % of the verdicts could not be read."),
        ],
    )


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
