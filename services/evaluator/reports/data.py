"""What a report is made of. Knows no format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared.protocol.evals.item import OutputItem
from shared.protocol.evals.results import Results
from shared.protocol.evals.run import Run
from shared.protocol.evals.spec import EvalSpec

ReportFormat = Literal["html", "md", "json", "csv", "jsonl"]
ReportTable = Literal["figures", "items", "answers"]
"""Of the CSV format: a row for each candidate in each scope, for each item, or for each metric of
a candidate's answers in each language."""

MEDIA_TYPES: dict[ReportFormat, str] = {
    "html": "text/html; charset=utf-8",
    "md": "text/markdown; charset=utf-8",
    "json": "application/json",
    "csv": "text/csv; charset=utf-8; header=present",
    "jsonl": "application/jsonl",
}


@dataclass(frozen=True, slots=True)
class ReportData:
    """All that a report tells of one run."""

    results: Results
    spec: EvalSpec
    run: Run
    items: list[OutputItem]
    """In order of number."""
    strict: frozenset[str] = frozenset()
    """Judges whose verdicts in sentences alone are left undecoded."""
