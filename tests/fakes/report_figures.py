"""Figures of a report's run, made by hand: plausible ones, and no statistics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

from shared.protocol.evals.item import ItemStatus, OutputItem
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

DIGEST = "5f2c" * 16


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
        len(" ".join(each.turns or []))
        for row in items
        for each in row.answers
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
        composite=[
            (each.candidate, 5 - (each.mean_rank.value or 0)) for each in scopes[0].candidates
        ],
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
            for place, dimension in enumerate((None, "general", "relevance", "coherence"))
        ],
        agreement=[
            Agreement(
                between="humans",
                names=[*judges, "Ada Reader"],
                judge=next(iter(judges)),
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
