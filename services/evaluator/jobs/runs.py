"""What stands in Redis of a run: its fields, written once, and the `Run` that is told of them.

Owns the names of the fields that scripts and Python share.
"""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from services.evaluator.jobs.given_answers import GivenAnswers
from services.evaluator.jobs.plan import Plan
from services.evaluator.jobs.records import Used, picodollars
from services.evaluator.jobs.states import GIVEN, NOT_ASKED, UNFED
from shared.protocol.evals.run import (
    CallUsage,
    Limits,
    ModelUsage,
    Progress,
    Run,
    RunSpec,
    RunStatus,
    Usage,
)

Role = Literal["answer", "judge"]
_UNDECODED_SHARE = 0.01
_WHAT = ("calls", "prompt_tokens", "completion_tokens", "cost")
_REPEATED = "repeated"


def answer_states(plan: Plan, run: RunSpec) -> bytes:
    """Return how far each answer is before anything is asked."""
    given = GivenAnswers(plan)
    missing = UNFED if run.reviews is None else NOT_ASKED
    return b"".join(GIVEN if number in given else missing for number in range(plan.answers))


def fields_of(spec: RunSpec, plan: Plan, answers: bytes) -> dict[str, str | int | float | bytes]:
    """Return the fields of a new run's hash that its spec decides."""
    given = answers.count(GIVEN)
    total = plan.reviews or plan.answers
    left = plan.reviews + answers.count(UNFED)
    fields: dict[str, str | int | float | bytes] = {
        "name": spec.name,
        "candidates": orjson.dumps([candidate.name for candidate in spec.candidates]),
        "reviewed": int(plan.reviews > 0),
        "total": total,
        "answers_total": plan.answers - answers.count(NOT_ASKED),
        "answered": given,
        "judged": 0 if plan.reviews else given,
        "left": left,
        "left_at_first": left,
        "fail_at": _fail_at(spec.fail_on_error, total),
        "concurrency": spec.concurrency or 0,
        "limits": spec.limits.model_dump_json(),
        **limit_fields(spec.limits),
    }
    return fields


def limit_fields(limits: Limits) -> dict[str, int]:
    """Return the fields that hold a run's limits, only those that there are."""
    cost = limits.max_cost_usd
    found = {
        "max_calls": limits.max_calls,
        "max_judge_calls": limits.max_judge_calls,
        "max_tokens": limits.max_tokens,
        "max_cost": None if cost is None else picodollars(cost),
    }
    fields = {name: value for name, value in found.items() if value is not None}
    return {**fields, "limited": 1} if fields else {}


def deadline_ms(limits: Limits) -> int:
    """Return the milliseconds that a run has; 0: as long as it takes."""
    return 0 if limits.deadline is None else math.ceil(limits.deadline * 1000)


def _fail_at(rule: bool | float, total: int) -> int:
    """Return how many errored items fail a run; 0: none do."""
    if isinstance(rule, bool):
        return int(rule)
    count = rule * total if rule < 1 else rule
    return max(1, math.ceil(count))


def usage_fields(role: Role, model: str, used: Used) -> list[tuple[str, int]]:
    """Return what is added to a run's hash for the calls of a unit."""
    values = (used.calls, used.prompt_tokens, used.completion_tokens, used.cost)
    repeated = [(_REPEATED, used.repeats)] if used.repeats else []
    return repeated + [
        (field, value)
        for what, value in zip(_WHAT, values, strict=True)
        if value
        for field in (f"{role}_{what}", f"m|{what}|{model}")
    ]


def run_of(stored: dict[bytes, bytes]) -> Run:
    """Return what the API tells of a run."""
    told = {name.decode(): value.decode() for name, value in stored.items()}
    status = RunStatus(told["status"])

    def count(name: str) -> int:
        return max(0, int(told.get(name, 0)))

    def moment(name: str) -> int | None:
        return int(float(told[name])) if name in told else None

    progress = _progress(count, reviewed=told["reviewed"] == "1")
    return Run(
        id=told["id"],
        eval_id=told["eval"],
        name=told["name"],
        status=status,
        reason=told.get("reason") if status is RunStatus.CANCELED else None,
        created_at=moment("created_at") or 0,
        started_at=moment("started_at"),
        finished_at=moment("finished_at"),
        candidates=orjson.loads(told["candidates"]),
        progress=progress,
        usage=_usage(told),
        eta_s=_eta(told) if status is RunStatus.RUNNING else None,
        warnings=_warnings(told, progress),
        error=told.get("error"),
    )


def _progress(count: Any, *, reviewed: bool) -> Progress:
    total, errored = count("total"), count("errored")
    done = count("judged") + count("undecoded") + errored
    answering, judging = count("answering"), count("judging")
    return Progress(
        total=total,
        queued=max(0, total - done - (judging if reviewed else answering)),
        answering=answering,
        judging=judging,
        done=done,
        judged=count("judged"),
        undecoded=count("undecoded"),
        errored=errored,
        passed=count("passed"),
        failed=count("failed"),
        answers_total=count("answers_total"),
        answered=count("answered"),
    )


def _usage(told: dict[str, str]) -> Usage:
    def used(role: Role) -> CallUsage:
        return Used(*(int(told.get(f"{role}_{what}", 0)) for what in _WHAT)).told()

    models: dict[str, dict[str, int]] = defaultdict(dict)
    for name, value in told.items():
        if name.startswith("m|"):
            _, what, model = name.split("|", 2)
            models[model][what] = int(value)
    by_model = [
        ModelUsage(
            model=model,
            **Used(*(found.get(what, 0) for what in _WHAT)).told().model_dump(),
        )
        for model, found in sorted(models.items())
    ]
    return Usage(
        answers=used("answer"),
        judge=used("judge"),
        models=by_model,
        possibly_repeated=int(told.get(_REPEATED, 0)),
    )


def _eta(told: dict[str, str]) -> float | None:
    """Return the seconds left at the pace since the run was made or last resumed."""
    left = int(told["left"])
    done = int(told["left_at_first"]) - left
    passed = datetime.now(UTC).timestamp() - int(told["since"]) / 1000
    return round(passed / done * left, 1) if done > 0 and passed > 0 else None


def _warnings(told: dict[str, str], progress: Progress) -> list[str]:
    found: list[str] = []
    if progress.done and progress.undecoded / progress.done > _UNDECODED_SHARE:
        found.append(
            f"{progress.undecoded} of {progress.done} verdicts could not be read; they are in no "
            "figure."
        )
    if "max_cost" in told and told.get("unpriced") == "1":
        found.append("The price of a model is not known, so its calls count nothing as cost.")
    return found
