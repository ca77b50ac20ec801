"""AlpacaEval's `annotations.json` and `model_outputs.json`, and its own win rate.

Owns the fields, and what a preference means: 1 is for the first output, 2 for the second, and what
lies between leans; 1.5 (0 in old files) is a draw, null is no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from services.evaluator.importing.found import FoundAnswer
from services.evaluator.importing.rows import Row
from shared.protocol.evals.run import GivenAnswer, GivenReview
from shared.protocol.evals.spec import Question

_DRAW = 1.5
_OLD_DRAW = 0


@dataclass(frozen=True, slots=True)
class WinRate:
    """How often the second of two generators is preferred, in percent."""

    baseline: str
    model: str
    n: int
    win_rate: float
    standard_error: float | None
    """Of the mean, from the sample's deviation; None for a single row."""
    wins: int
    draws: int
    without_verdict: int


@dataclass(frozen=True, slots=True)
class Annotation:
    """One row of `annotations.json`; its preference is None where there is no verdict."""

    instruction: str
    outputs: tuple[str, str]
    generators: tuple[str, str]
    preference: float | None
    annotator: str
    dataset: str | None
    row: Row


def annotation_of(row: Row) -> Annotation:
    """Return what a row says. Raises MalformedFile."""
    preference = row.optional_number("preference")
    if preference == _OLD_DRAW:
        preference = _DRAW
    if preference is not None and not 1 <= preference <= 2:  # noqa: PLR2004 - see above
        raise row.fault("preference", "does not lie between 1 and 2")
    return Annotation(
        row.text("instruction"),
        (row.text("output_1"), row.text("output_2")),
        (row.text("generator_1"), row.text("generator_2")),
        preference,
        row.optional_text("annotator") or "annotator",
        row.optional_text("dataset"),
        row,
    )


def question_of(annotation: Annotation, question_id: str) -> Question:
    """Return the instruction as a question."""
    row = annotation.row
    return row.made(
        Question, id=question_id, turns=[annotation.instruction], category=annotation.dataset
    )


def review_of(annotation: Annotation, question_id: str) -> GivenReview:
    """Return the verdict, of which a leaning keeps its direction alone."""
    ranks = None
    raw: object = annotation.row.fields.get("raw_completion")
    if annotation.preference is not None:
        lean = annotation.preference - _DRAW
        ranks = [1, 1] if lean == 0 else [1, 2] if lean < 0 else [2, 1]
    return annotation.row.made(
        GivenReview,
        question_id=question_id,
        dimension="general",
        judge=annotation.annotator,
        lineup=list(annotation.generators),
        ranks=ranks,
        text=raw if isinstance(raw, str) else "",
    )


def answers_of(annotation: Annotation, question_id: str) -> list[FoundAnswer]:
    """Return both outputs."""
    return [
        FoundAnswer(model, annotation.row.made(GivenAnswer, question_id=question_id, turns=[text]))
        for model, text in zip(annotation.generators, annotation.outputs, strict=True)
    ]


def output_of(row: Row, question_id: str) -> FoundAnswer:
    """Return a row of `model_outputs.json`."""
    answer = row.made(GivenAnswer, question_id=question_id, turns=[row.text("output")])
    return FoundAnswer(row.text("generator"), answer)


def win_rates(annotations: Sequence[Annotation]) -> list[WinRate]:
    """Return the win rate of each pair of generators.

    The mean of `preference - 1` over the rows with a verdict, and its standard error with n - 1
    in the deviation, both in percent (AlpacaEval's leaderboard).
    """
    pairs = dict.fromkeys(each.generators for each in annotations)
    return [
        _win_rate(baseline, model, [a for a in annotations if a.generators == (baseline, model)])
        for baseline, model in pairs
    ]


def _win_rate(baseline: str, model: str, rows: Sequence[Annotation]) -> WinRate:
    shares = [row.preference - 1 for row in rows if row.preference is not None]
    n = len(shares)
    mean = math.fsum(shares) / n if n else math.nan
    error = None
    if n > 1:
        variance = math.fsum((share - mean) ** 2 for share in shares) / (n - 1)
        error = 100 * math.sqrt(variance / n)
    return WinRate(
        baseline,
        model,
        n,
        100 * mean,
        error,
        wins=sum(share > _DRAW - 1 for share in shares),
        draws=sum(share == _DRAW - 1 for share in shares),
        without_verdict=len(rows) - n,
    )
