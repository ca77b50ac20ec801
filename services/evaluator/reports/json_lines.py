"""Reports for programs: all figures as one JSON document, all items as JSON lines."""

from __future__ import annotations

from services.evaluator.reports.data import ReportData
from shared.protocol.evals.base import Told
from shared.protocol.evals.item import OutputItem
from shared.protocol.evals.results import Results
from shared.protocol.evals.run import Run
from shared.protocol.evals.spec import EvalSpec

_LINE_ENDS = {ord(sign): f"\\u{ord(sign):04x}" for sign in "\x85\u2028\u2029"}
"""Signs that some readers take for the end of a line, and that JSON leaves as they are."""


class ReportDocument(Told):
    """A run's figures with all that they rest on but the items."""

    object: str = "eval.run.report"
    run: Run
    spec: EvalSpec
    results: Results


def json_report(report: ReportData) -> bytes:
    """Return the run, what it measured and its results."""
    document = ReportDocument(run=report.run, spec=report.spec, results=report.results)
    return (_one_line(document, indent=2) + "\n").encode()


def json_lines(report: ReportData) -> bytes:
    """Return each item as one line, with nothing left out."""
    return "".join(_one_line(item) + "\n" for item in report.items).encode()


def _one_line(told: ReportDocument | OutputItem, indent: int | None = None) -> str:
    return told.model_dump_json(indent=indent).translate(_LINE_ENDS)
