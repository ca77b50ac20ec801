"""LLMZoo's figures from its files alone, with no service: the public entry of the offline command.

Owns what is read and written. Files are written whole or not at all; the two of them stand for
one state, so nothing is written before both are computed.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from services.evaluator.artefacts import metric_json, ordering_txt
from services.evaluator.artefacts.reading import (
    QuestionId,
    ReviewLine,
    matched,
    read_questions,
    read_reviews,
)
from services.evaluator.artefacts.rows import LegacyReview
from shared.errors import OutputNotWritten


@dataclass(frozen=True, slots=True)
class Difference:
    """A review whose text says something else than its row."""

    question: QuestionId
    stored: tuple[float, ...]
    read: tuple[float, ...]
    rule: str


@dataclass(frozen=True, slots=True)
class Written:
    """What was done."""

    files: tuple[Path, Path]
    reviews: int
    left_out: int
    """Reviews of questions that the question file does not have; LLMZoo passes over them too."""
    differences: tuple[Difference, ...]


def write_artefacts(
    questions: Path,
    reviews: Path,
    out: Path,
    *,
    horizontal: bool = False,
    scores: bool = False,
    category: str | None = None,
    reparse: bool = False,
) -> Written:
    """Write `metric.json` and `ordering.txt` into the folder `out`, which is made if need be.

    Args:
        questions: LLMZoo's question file.
        reviews: one review a line; each question must have one.
        out: where the two files go.
        horizontal: all models side by side; else the first one is what others are measured by.
        scores: the reviews hold scores, not orders.
        category: only questions of this one.
        reparse: read orders or scores from the texts, and tell where the rows say otherwise.

    Raises:
        MalformedFile: a file or a line of it.
        InvalidRequest: the figures cannot be computed.
        OutputNotWritten: the folder or a file in it.
    """
    asked = read_questions(questions)
    found, left_out = read_reviews(reviews, asked, scores=scores)
    differences: tuple[Difference, ...] = ()
    if reparse:
        found, differences = _read_again(found, scores=scores)
    rows = list(matched(asked, found, reviews, category).values())
    return Written(_write(out, rows, horizontal, scores), len(rows), left_out, differences)


def _read_again(
    found: dict[QuestionId, ReviewLine], *, scores: bool
) -> tuple[dict[QuestionId, ReviewLine], tuple[Difference, ...]]:
    """Return reviews with what our parsers read in their texts."""
    from dataclasses import replace  # noqa: PLC0415

    from services.evaluator.artefacts.legacy_order import UNREAD  # noqa: PLC0415
    from services.evaluator.judging.verdicts import read_order, read_scores  # noqa: PLC0415

    again: dict[QuestionId, ReviewLine] = {}
    differences: list[Difference] = []
    for question, review in found.items():
        n = len(review.models)
        values: tuple[float, ...] | None
        if scores:
            score_reading = read_scores(review.text, n)
            values, rule = score_reading.scores, score_reading.rule.value
        else:
            order_reading = read_order(review.text, n)
            values, rule = order_reading.ranks, order_reading.rule.value
        values = values if values is not None else (UNREAD,) * n
        if values != review.values:
            differences.append(Difference(question, review.values, values, rule))
        again[question] = replace(review, values=values)
    return again, tuple(differences)


def _write(
    out: Path, rows: list[LegacyReview], horizontal: bool, scores: bool
) -> tuple[Path, Path]:
    metric = metric_json(rows, horizontal=horizontal, scores=scores)
    ordering = ordering_txt(rows, horizontal=horizontal, scores=scores)
    files = out / "metric.json", out / "ordering.txt"
    try:
        out.mkdir(parents=True, exist_ok=True)
        for file, content in zip(files, (metric, ordering), strict=True):
            _replace(file, content)
    except OSError as fault:
        raise OutputNotWritten(f"{fault.filename or out}: {fault.strerror or fault}") from None
    return files


def _replace(file: Path, content: str) -> None:
    """Write `file` so that a reader sees the old content or the new one, nothing between."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as temporary:
            temporary.write(content.encode())
            temporary.flush()
            os.fsync(temporary.fileno())
        # As an ordinary file would be, not for its owner alone.
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """Return the process's mask; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
