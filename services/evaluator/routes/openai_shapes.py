"""Evals and runs that OpenAI's clients made, told in OpenAI's shapes.

Owns how our words become theirs: a run's status, its counts by row and by criterion, its usage by
model. Reads nothing.
"""

from __future__ import annotations

from typing import Any, cast

from services.evaluator.jobs.states import ERRORED, FAILED, JUDGED, PASSED, UNDECODED
from services.evaluator.specs.openai_run import GIVEN
from shared.protocol.evals.run import CallUsage, Evaluation, Run, RunSpec, RunStatus

_STATUSES = {RunStatus.RUNNING: "in_progress"}
_PASSES = {PASSED, JUDGED}
_BROKEN = {ERRORED, UNDECODED}


def shown_eval(evaluation: Evaluation) -> dict[str, Any]:
    """Return an eval as OpenAI's API tells it."""
    spec = evaluation.spec
    body: dict[str, Any] = spec["openai"]
    config = body["data_source_config"]
    graders = zip(body["testing_criteria"], spec["graders"], strict=True)
    properties: dict[str, Any] = {"item": config["item_schema"]}
    if config.get("include_sample_schema"):
        properties["sample"] = {
            "type": "object",
            "properties": {"output_text": {"type": "string"}},
        }
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {
        "object": "eval",
        "id": evaluation.id,
        "created_at": evaluation.created_at,
        "name": spec["name"],
        "metadata": spec["metadata"] or {},
        "data_source_config": {"type": config["type"], "schema": schema},
        "testing_criteria": [{**told, "id": grader["id"]} for told, grader in graders],
    }


def shown_run(evaluation: Evaluation, run: Run, spec: RunSpec, states: bytes) -> dict[str, Any]:
    """Return a run as OpenAI's API tells it; `states` are those of its reviews."""
    graders = [cast("dict[str, Any]", each) for each in evaluation.spec["graders"]]
    rows = [row_status(row) for row in rows_of(states, len(graders))]
    model = spec.candidates[0].model
    return {
        "object": "eval.run",
        "id": run.id,
        "eval_id": run.eval_id,
        "created_at": run.created_at,
        "name": run.name,
        "metadata": spec.metadata or {},
        "status": _STATUSES.get(run.status, run.status.value),
        "model": model or GIVEN,
        "data_source": spec.openai,
        "report_url": f"/v1/evals/{run.eval_id}/runs/{run.id}/report?format=html",
        "result_counts": {
            "total": len(rows),
            "errored": rows.count("error"),
            "failed": rows.count("fail"),
            "passed": rows.count("pass"),
        },
        "per_model_usage": [
            {"model_name": used.model, "invocation_count": used.calls, **tokens(used)}
            for used in run.usage.models
        ],
        "per_testing_criteria_results": [
            _counted(grader["name"], states[place :: len(graders)])
            for place, grader in enumerate(graders)
        ],
        "error": {"code": "run_failed", "message": run.error} if run.error else None,
    }


def rows_of(states: bytes, graders: int) -> list[bytes]:
    """Return the states of each row's reviews: one for each grader."""
    return [states[start : start + graders] for start in range(0, len(states), graders)]


def row_status(states: bytes) -> str:
    """Return what OpenAI calls a row whose reviews are in these states."""
    letters = {bytes([each]) for each in states}
    if letters <= _PASSES:
        return "pass"
    if letters & _BROKEN and letters <= _PASSES | _BROKEN | {FAILED}:
        return "error"
    return "fail" if letters <= _PASSES | {FAILED} else "pending"


def tokens(used: CallUsage | None) -> dict[str, int]:
    """Return tokens as OpenAI counts them."""
    used = used or CallUsage()
    return {
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "total_tokens": used.prompt_tokens + used.completion_tokens,
        "cached_tokens": 0,
    }


def _counted(name: str, states: bytes) -> dict[str, Any]:
    letters = [bytes([each]) for each in states]
    passed = sum(each in _PASSES for each in letters)
    return {"testing_criteria": name, "passed": passed, "failed": letters.count(FAILED)}
