"""How the specs of evals and runs stand in Redis: a head, and rows that stay sealed.

Owns both forms. An eval's questions stand beside its head. A run is one text of lines: its head,
in which each list of rows is the number of its bytes, and behind it those rows: questions, the
candidates' answers, reviews.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from services.evaluator.jobs.records import unpack_bytes
from services.evaluator.sealed_rows import Row, SealedRows, json_text, sealed
from shared.protocol.evals.run import (
    Candidate,
    Evaluation,
    GivenAnswer,
    GivenReview,
    Limits,
    RunSpec,
)
from shared.protocol.evals.spec import EvalSpec, Question


def told_spec(spec: EvalSpec) -> dict[str, Any]:
    """Return what an `Evaluation` tells of its spec: JSON, but for the questions."""
    told = spec.model_copy(update={"questions": []}).model_dump(mode="json")
    return {**told, "questions": sealed(spec.questions, Question)}


def questions_of(evaluation: Evaluation) -> SealedRows[Question]:
    """Return an eval's questions."""
    return sealed(evaluation.spec["questions"], Question)


def spec_of(evaluation: Evaluation) -> EvalSpec:
    """Return the spec that an eval tells."""
    head = orjson.dumps({**evaluation.spec, "questions": []})
    spec = EvalSpec.model_validate_json(head)
    return spec.model_copy(update={"questions": questions_of(evaluation)})


def run_text(run: RunSpec) -> bytes:
    """Return a run's spec as it is stored, not packed yet."""
    parts: list[bytes] = []

    def length(rows: Sequence[Row] | None, shape: type[Row]) -> int | None:
        if rows is None:
            return None
        parts.append(sealed(rows, shape).text)
        return len(parts[-1])

    head = {
        **dict(run),
        "questions": length(run.questions, Question),
        "candidates": [
            {**dict(candidate), "answers": length(candidate.answers, GivenAnswer)}
            for candidate in run.candidates
        ],
        "reviews": length(run.reviews, GivenReview),
    }
    return b"".join([json_text(head), b"\n", *parts])


def run_spec_of(stored: bytes, limits: bytes) -> RunSpec:
    """Return a run's spec with the limits that hold now."""
    text = unpack_bytes(stored)
    place = text.index(b"\n") + 1
    head: dict[str, Any] = orjson.loads(text[:place])

    def rows(length: int | None, shape: type[Row]) -> SealedRows[Row] | None:
        nonlocal place
        if length is None:
            return None
        place += length
        return SealedRows(text[place - length : place], shape)

    questions = rows(head.pop("questions"), Question)
    answers = [rows(told.pop("answers"), GivenAnswer) for told in head["candidates"]]
    reviews = rows(head.pop("reviews"), GivenReview)
    spec = RunSpec.model_validate_json(orjson.dumps(head))
    return spec.model_copy(
        update={
            "questions": questions,
            "candidates": [
                _with(candidate, given)
                for candidate, given in zip(spec.candidates, answers, strict=True)
            ],
            "reviews": reviews,
            "limits": Limits.model_validate_json(limits),
        }
    )


def _with(candidate: Candidate, answers: SealedRows[GivenAnswer] | None) -> Candidate:
    return candidate.model_copy(update={"answers": answers})
