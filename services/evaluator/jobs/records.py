"""What stands in Redis of an evaluation: the shapes, and how they become what the API tells.

Owns the stored form. An eval is one JSON text; a run is a hash of its fixed part (JSON), its
status and its counters, beside one hash each for answers, results and scores.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict

from shared.protocol.evals import (
    CallUsage,
    Evaluation,
    ItemError,
    ItemStatus,
    OutputItem,
    Progress,
    Run,
    RunSpec,
    RunStatus,
    Summary,
    Usage,
    Verdict,
)


class _Stored(BaseModel):
    # Inputs are hidden: a server's odd answer must not get into a log.
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class RunRecord(_Stored):
    """The part of a run that never changes."""

    id: str
    eval_id: str
    created_at: int
    total: int
    spec: RunSpec


class StoredAnswer(_Stored):
    """A candidate's answer to one question."""

    text: str
    finish_reason: str
    usage: CallUsage


class StoredResult(_Stored):
    """How an item ended."""

    status: ItemStatus
    judge_text: str | None = None
    verdict: Verdict | None = None
    error: ItemError | None = None
    usage: CallUsage = CallUsage()

    @property
    def score(self) -> float | None:
        """Return the score; None: there is none."""
        return self.verdict.score if self.verdict else None


def used(usage: dict[str, Any]) -> CallUsage:
    """Return what one call used, as far as the server told it in numbers."""
    told = {
        name: value
        for name in ("prompt_tokens", "completion_tokens")
        if isinstance(value := usage.get(name), int)
    }
    return CallUsage(calls=1, **told)


def counters(prefix: str, usage: CallUsage) -> dict[str, int]:
    """Return what is added to a run's hash for `usage`."""
    return {f"{prefix}_{name}": value for name, value in usage.model_dump().items()}


def run_of(fields: dict[bytes, bytes], scores: Iterable[bytes]) -> Run:
    """Return what the API tells of a run, from its hash and its items' scores."""
    told = {name.decode(): value for name, value in fields.items()}
    record = RunRecord.model_validate_json(told["record"])

    def count(name: str) -> int:
        return int(told.get(name, 0))

    def usage(prefix: str) -> CallUsage:
        return CallUsage(**{name: count(f"{prefix}_{name}") for name in CallUsage.model_fields})

    read = [float(score) for score in scores]
    return Run(
        id=record.id,
        eval_id=record.eval_id,
        status=RunStatus(told["status"].decode()),
        created_at=record.created_at,
        started_at=count("started_at") or None,
        finished_at=count("finished_at") or None,
        candidates=record.spec.candidates,
        temperature=record.spec.temperature,
        max_tokens=record.spec.max_tokens,
        progress=Progress(
            total=record.total,
            answered=count("answered"),
            judged=count("judged"),
            undecoded=count("undecoded"),
            errored=count("errored"),
        ),
        usage=Usage(answers=usage("answer"), judge=usage("judge")),
        summary=Summary(
            # fsum, so that the order in which items ended does not show in the last digit.
            mean_score=math.fsum(read) / len(read) if read else None,
            judged=len(read),
            undecoded=count("undecoded"),
            errored=count("errored"),
        ),
        error=told["error"].decode() if "error" in told else None,
    )


def item_of(
    evaluation: Evaluation, run: Run, place: int, answer: bytes | None, result: bytes | None
) -> OutputItem:
    """Return what the API tells of the item at `place` of a run."""
    answered = StoredAnswer.model_validate_json(answer) if answer else None
    ended = StoredResult.model_validate_json(result) if result else None
    status = ItemStatus.ANSWERED if answered else ItemStatus.PENDING
    return OutputItem(
        id=f"item_{place}",
        run_id=run.id,
        question=evaluation.questions[place],
        model=run.candidates[0].model,
        dimension=evaluation.dimensions[0],
        status=ended.status if ended else status,
        answer=answered.text if answered else None,
        finish_reason=answered.finish_reason if answered else None,
        judge_text=ended.judge_text if ended else None,
        verdict=ended.verdict if ended else None,
        error=ended.error if ended else None,
    )
