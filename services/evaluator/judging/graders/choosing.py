"""Which assessment a grader of OpenAI's API is, and the judge that its model is."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from services.evaluator.judging.assessment import Assessment, ReviewTask
from services.evaluator.judging.graders.by_model import ModelAssessment
from services.evaluator.judging.graders.by_rule import RuleAssessment
from services.evaluator.judging.graders.unrendered import UnrenderedAssessment
from services.evaluator.judging.json_reply import Unreadable
from shared.errors import InvalidSpec
from shared.protocol.evals.spec import Grader, Judge, JudgeSampling

_LIMITS = ("max_completions_tokens", "max_completion_tokens", "max_tokens")
"""How OpenAI's API calls it, and how everybody does."""
_LEAST, _MOST = 16, 32_768


def grader_assessment(grader: Grader, task: ReviewTask) -> Assessment:
    """Return how one answer is graded.

    Raises:
        InvalidSpec: the grader's model or its sampling is missing or wrong.
    """
    if grader.type in {"string_check", "text_similarity"}:
        return RuleAssessment(grader, task)
    try:
        return ModelAssessment(grader, task, judge_of(grader))
    except Unreadable as unreadable:
        return UnrenderedAssessment(unreadable.fault)


def judge_of(grader: Grader) -> Judge:
    """Return the judge that a grader names; raises InvalidSpec."""
    told: dict[str, Any] = grader.sampling_params or {}
    asked = {name: told[name] for name in ("temperature", "top_p", "seed") if told.get(name)}
    limit = next((told[name] for name in _LIMITS if told.get(name) is not None), None)
    if isinstance(limit, int):
        asked["max_tokens"] = min(max(limit, _LEAST), _MOST)
    if told.get("reasoning_effort"):
        # Models that reason know the limit by its newer name, and often only their own temperature.
        asked["max_completion_tokens"] = asked.pop("max_tokens", _MOST)
        asked.setdefault("temperature", None)
    try:
        return Judge(model=grader.model or "", sampling=JudgeSampling(**asked))
    except ValidationError:
        fault = "The model or its sampling parameters are out of range."
        raise InvalidSpec([("/sampling_params", fault)]) from None
