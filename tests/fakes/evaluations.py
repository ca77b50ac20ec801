"""An evaluation to run, and models that answer it as they should."""

from __future__ import annotations

from typing import Any

from tests.fakes.scripted_models import Call, Reply

QUESTIONS = [f"How many legs has animal number {number}?" for number in range(1, 7)]
RUN = {"candidates": [{"model": "candidate"}]}


def spec(questions: list[str] = QUESTIONS, **changes: Any) -> dict[str, Any]:
    return {
        "questions": [{"text": text} for text in questions],
        "dimensions": ["general"],
        "mode": "scoring",
        "judge": {"model": "judge"},
        **changes,
    }


def number_of(call: Call) -> int:
    """Return which of QUESTIONS a call is about."""
    return next(number for number, text in enumerate(QUESTIONS, 1) if text in call.prompt)


def obliging(call: Call) -> Reply:
    """Answer as a candidate; as a judge give question N the score N."""
    if call.model == "judge":
        return Reply(f"A secret reason.\nScore: {number_of(call)}")
    return Reply(f"It has {number_of(call)} secret legs.")
