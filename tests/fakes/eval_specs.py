"""Specs of evals and runs, as they stand in the store."""

from __future__ import annotations

from typing import Any

from shared.protocol.evals.run import Candidate, RunSpec
from shared.protocol.evals.spec import EvalSpec, Judge, Question


def questions(count: int, turns: int = 1) -> list[Question]:
    return [
        Question(
            id=str(number), turns=[f"Question {number}, turn {turn}?" for turn in range(turns)]
        )
        for number in range(count)
    ]


def eval_spec(count: int = 6, **changes: Any) -> EvalSpec:
    """Return an eval of `count` questions that one judge scores."""
    fields: dict[str, Any] = {
        "questions": questions(count),
        "dimensions": ["general"],
        "judges": [Judge(model="judge")],
        **changes,
    }
    return EvalSpec(**fields)


def run_spec(*names: str, **changes: Any) -> RunSpec:
    """Return a run with these models as candidates, or with one."""
    candidates = [Candidate(name=name, model=name) for name in names or ("candidate",)]
    return RunSpec(**{"candidates": candidates, **changes})


def given_candidate(name: str, count: int) -> Candidate:
    """Return a candidate whose answers to `count` questions are there."""
    answers = [
        {"question_id": str(number), "turns": [f"{name} says {number}."]} for number in range(count)
    ]
    return Candidate.model_validate({"name": name, "answers": answers})
