"""Reports as CSV: figures by candidate and scope, one row an item, or metrics of answers.

Numbers are written as they are; a text that a spreadsheet would run as a formula is not.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from io import StringIO
from typing import Any

import orjson

from services.evaluator.reports.data import ReportData, ReportTable
from services.evaluator.reports.measures import MEASURES
from services.evaluator.reports.scopes import FIELDS, fields_of, letters
from shared.protocol.evals.item import OutputItem, Verdict
from shared.protocol.evals.results import CandidateFigures, Figure, Scope

Row = dict[str, Any]

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How formulas begin in spreadsheets, the last four in full width."""
_BLANK = " \u00a0\u3000\ufeff"
"""What spreadsheets pass over before a formula."""

_SCOPE = (*FIELDS, "questions", "reviews", "undecoded")
_RECORD = ("place", "candidate", "group", "wins", "ties", "losses", "mean_length", "composite")
_ANSWERS = ("candidate", "language", "answers", "metric", "value", "low", "high", "n", "undecoded")
_PARTS = ("", "_low", "_high", "_n", "_undecoded")
_ITEM = (
    *("id", "question_id", "category", "language", "dimension", "judge", "repeat", "status"),
    *("lineup", "ranks", "scores", "label", "passed", "rule", "confidence", "best"),
    *("human", "author", "reason", "error", "model_version", "question", "judge_text"),
)


def figures_table(report: ReportData) -> str:
    """Return a row for each candidate in each scope."""
    names = [measure.name + part for measure in MEASURES for part in _PARTS]
    composite = dict(report.results.composite)
    rows = (
        _scope(scope)
        | _figures(scope, place, candidate)
        | {"composite": composite.get(candidate.candidate) if not fields_of(scope) else None}
        for scope in report.results.scopes
        for place, candidate in enumerate(scope.candidates, start=1)
    )
    return _written((*_SCOPE, *_RECORD, *names), rows)


def items_table(report: ReportData) -> str:
    """Return a row for each item; lists stand in their cells as JSON."""
    return _written(_ITEM, (_item(item) for item in report.items))


def answers_table(report: ReportData) -> str:
    """Return a row for each metric of each candidate's answers."""
    rows = (
        {"candidate": each.candidate, "language": each.language, "answers": each.answers}
        | {"metric": name}
        | {part.lstrip("_") or "value": told for part, told in _figure("", figure).items()}
        for each in report.results.answers
        for name, figure in each.values.items()
    )
    return _written(_ANSWERS, rows)


TABLES: dict[ReportTable, Callable[[ReportData], str]] = {
    "figures": figures_table,
    "items": items_table,
    "answers": answers_table,
}


def _scope(scope: Scope) -> Row:
    return {name: getattr(scope, name) for name in _SCOPE}


def _figures(scope: Scope, place: int, figures: CandidateFigures) -> Row:
    row: Row = {
        "place": place,
        "candidate": figures.candidate,
        "group": letters(scope).get(figures.candidate, ""),
        "wins": figures.wins,
        "ties": figures.ties,
        "losses": figures.losses,
        "mean_length": figures.mean_length,
    }
    for measure in MEASURES:
        row |= _figure(measure.name, measure.pick(figures))
    return row


def _figure(name: str, figure: Figure | None) -> Row:
    if figure is None:
        return {}
    ends = figure.interval
    parts = (
        figure.value,
        ends.low if ends else None,
        ends.high if ends else None,
        figure.n,
        figure.undecoded,
    )
    return {name + part: value for part, value in zip(_PARTS, parts, strict=True)}


def _item(item: OutputItem) -> Row:
    last = item.overrides[-1] if item.overrides else None
    return {
        "id": item.id,
        "question_id": item.question.id,
        "category": item.question.category,
        "language": item.question.language,
        "dimension": item.dimension,
        "judge": item.judge,
        "repeat": item.repeat,
        "status": item.status.value,
        "lineup": item.lineup,
        "human": last is not None,
        "author": last.author if last else None,
        "reason": last.reason if last else None,
        "error": item.error.message if item.error else None,
        "model_version": item.model_version,
        "question": item.question.text,
        "judge_text": item.judge_text,
    } | _verdict(item.verdict, item.lineup)


def _verdict(verdict: Verdict | None, lineup: list[str]) -> Row:
    if verdict is None:
        return {}
    return verdict.model_dump() | {"best": best(verdict, lineup)}


def best(verdict: Verdict, lineup: list[str]) -> list[str] | None:
    """Return who is in front, several if they share it; None without an order or scores."""
    if verdict.ranks is not None:
        return [name for name, rank in zip(lineup, verdict.ranks, strict=False) if rank == 1]
    if verdict.scores:
        top = max(verdict.scores)
        return [name for name, at in zip(lineup, verdict.scores, strict=False) if at == top]
    return None


def _written(names: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    columns = tuple(names)
    file = StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in columns])
    return file.getvalue()


def _cell(value: Any) -> str | float | None:
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case int() | float():
            return value
        case str():
            return _neutral(value)
        case _:
            return orjson.dumps(value).decode()


def _neutral(text: str) -> str:
    """Return a text with an apostrophe before it if a spreadsheet would take it for a formula."""
    return "'" + text if text.lstrip(_BLANK).startswith(_FORMULA) else text
