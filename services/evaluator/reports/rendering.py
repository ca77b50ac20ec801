"""A report in each of its formats.

Pure and bound to the processor: the same data give the same bytes, and who has an event loop
calls it in a thread or a process.
"""

from __future__ import annotations

from services.evaluator.reports.data import ReportData, ReportFormat, ReportTable
from services.evaluator.reports.html import html_report
from services.evaluator.reports.json_lines import json_lines, json_report
from services.evaluator.reports.markdown import markdown_report
from services.evaluator.reports.tables import TABLES


def render(format: ReportFormat, report: ReportData, table: ReportTable = "figures") -> bytes:  # noqa: A002 - the API's word
    """Return a report as a file's bytes; `table` chooses what a CSV file holds."""
    match format:
        case "html":
            return html_report(report)
        case "md":
            return markdown_report(report).encode()
        case "json":
            return json_report(report)
        case "jsonl":
            return json_lines(report)
        case "csv":
            return TABLES[table](report).encode()
