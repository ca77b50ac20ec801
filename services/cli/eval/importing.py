"""`llmzoo eval import`: files of another project become a spec, and files that it names.

Owns how the spec looks that is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel

from services.cli.eval.report_files import write_file
from services.cli.eval.yaml_file import written_yaml
from services.evaluator.importing.files import Source, import_files, unanswered
from services.evaluator.importing.found import Found
from shared.errors import InvalidRequest
from shared.protocol.evals.base import MAX_CANDIDATES
from shared.protocol.evals.spec import Mode


def import_spec(source: str, paths: Sequence[Path], out: Path) -> list[str]:
    """Write a spec to `out` and its files beside it; return what a person should know of it.

    Raises:
        MalformedFile: a file cannot be read; the message names it, the line and the field.
        InvalidRequest: the files hold nothing that can be measured.
        OutputNotWritten: a file cannot be written.
    """
    found = import_files(Source(source), paths)
    if len(found.models) > MAX_CANDIDATES:
        count = len(found.models)
        raise InvalidRequest(f"{count} models answered; one run has at most {MAX_CANDIDATES}.")
    left_out = set(unanswered(found))
    notes = found.told()
    if left_out:
        notes.append(f"questions that not every model has answered, left out: {len(left_out)}")
    if len(left_out) == len(found.questions):
        raise InvalidRequest("There is no question that every model has answered.")
    spec = _spec(found, source, out, left_out)
    write_file(out, written_yaml(spec))
    counts = f"{len(found.questions) - len(left_out)} questions, {len(found.models)} candidates"
    return [f"{out}: {counts}, {len(found.reviews)} reviews", *notes]


def _spec(found: Found, source: str, out: Path, left_out: set[str]) -> dict[str, Any]:
    def beside(what: str, rows: Iterable[dict[str, Any]]) -> str:
        path = out.with_name(f"{out.stem}-{what}.jsonl")
        write_file(path, b"".join(orjson.dumps(row) + b"\n" for row in rows))
        return path.name

    kept = (each for key, each in found.questions.items() if key not in left_out)
    spec: dict[str, Any] = {
        "name": f"{source}: {out.stem}",
        "questions": beside("questions", map(_row, kept)),
        **(_reviewed(found) if found.reviews else {"dimensions": ["general"], "mode": "scoring"}),
    }
    answers = [
        {"candidate": model, **_row(answer)}
        for model, given in found.answers.items()
        for answer in given.values()
        if answer.question_id not in left_out
    ]
    file = beside("answers", answers) if answers else None
    candidates = [
        {"name": model, **({"answers": file} if file and found.answers.get(model) else {})}
        for model in found.models
    ]
    run: dict[str, Any] = {"candidates": candidates}
    if found.reviews:
        run["reviews"] = beside("reviews", map(_row, found.reviews))
    return {**spec, "run": run}


def _reviewed(found: Found) -> dict[str, Any]:
    """Return what the reviews that are given were about."""
    fields: dict[str, Any] = {
        "dimensions": [each if isinstance(each, str) else _row(each) for each in found.dimensions],
        "mode": found.mode.value,
        "applies_to": {},
    }
    names = {each for each in found.dimensions if isinstance(each, str)}
    fields["applies_to"] = {name: {} for name in sorted(names & {"immersion", "integrity"})}
    lineups = {tuple(review.lineup) for review in found.reviews}
    if found.mode is Mode.PAIRWISE and any(lineup[::-1] in lineups for lineup in lineups):
        fields["swap"] = "both"
    return {name: value for name, value in fields.items() if value}


def _row(told: BaseModel) -> dict[str, Any]:
    return told.model_dump(mode="json", exclude_defaults=True)
