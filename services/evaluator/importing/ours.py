"""Questions, answers and reviews as we and LLMZoo write them, one object a line.

Owns these forms; those of FastChat's questions and answers are near enough to be read here too.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

from services.evaluator.importing.found import FoundAnswer
from services.evaluator.importing.rows import Row
from shared.protocol.evals.run import GivenAnswer, GivenReview
from shared.protocol.evals.spec import DimensionName, Question

_DIMENSIONS: tuple[str, ...] = get_args(DimensionName)
_UNREAD = -1


def question_of(row: Row) -> Question:
    """Return a question in our form, LLMZoo's, its multilingual one or FastChat's."""
    turns = row.texts("turns") if "turns" in row.fields else [row.text("text", "query")]
    named = "id" in row.fields or "question_id" in row.fields
    return row.made(
        Question,
        id=row.identity("id", "question_id") if named else None,
        turns=turns,
        category=row.optional_text("category", "label"),
        language=row.optional_text("language", "lang"),
        references=_references(row),
    )


def answer_of(row: Row) -> FoundAnswer:
    """Return an answer in our form or LLMZoo's; one that names no model has None."""
    turns = row.texts("turns") if "turns" in row.fields else [row.text("text")]
    return FoundAnswer(
        row.optional_text("candidate", "model_id", "model"),
        row.made(GivenAnswer, question_id=row.identity("question_id"), turns=turns),
    )


def review_of(row: Row) -> GivenReview:
    """Return a review in our form."""
    fields = {**row.fields, "question_id": row.identity("question_id")}
    return row.made(GivenReview, **fields)


def llmzoo_review_of(row: Row) -> GivenReview:
    """Return a review in LLMZoo's form; one with a -1 in it keeps its text alone."""
    name = "order" if "order" in row.fields else "score"
    values = row.numbers(name)
    lineup = row.inner("metadata").texts("model_ids")
    if len(values) != len(lineup):
        raise row.fault(name, f"has {len(values)} values for {len(lineup)} models")
    verdict: dict[str, object] = {}
    if _UNREAD not in values:
        verdict = {"ranks": [_rank(row, value) for value in values]} if name == "order" else {}
        verdict = verdict or {"scores": values}
    return row.made(
        GivenReview,
        question_id=row.identity("question_id"),
        dimension=_dimension_of(row.file),
        judge=row.text("reviewer_id"),
        lineup=lineup,
        text=row.optional_text("text"),
        **verdict,
    )


def llmzoo_question_of(row: Row) -> Question:
    """Return the question that a review of LLMZoo's is about."""
    return row.made(
        Question,
        id=row.identity("question_id"),
        turns=[row.inner("metadata").text("question")],
        category=row.optional_text("category"),
        language=row.optional_text("lang"),
    )


def llmzoo_answers_of(row: Row) -> list[FoundAnswer]:
    """Return the answers that a review of LLMZoo's shows."""
    inside = row.inner("metadata")
    models, texts = inside.texts("model_ids"), inside.texts("answers")
    if len(models) != len(texts):
        raise row.fault("metadata", f"has {len(texts)} answers of {len(models)} models")
    question = row.identity("question_id")
    return [
        FoundAnswer(model, row.made(GivenAnswer, question_id=question, turns=[text]))
        for model, text in zip(models, texts, strict=True)
    ]


def _references(row: Row) -> list[str] | None:
    for name in ("references", "reference"):
        value = row.fields.get(name)
        if isinstance(value, str):
            return [value]
        if isinstance(value, list):
            # FastChat has one for each turn, null where there is none.
            told = [each for each in cast("list[object]", value) if each is not None]
            return Row(row.file, row.line, {name: told}).texts(name) or None
        if value is not None:
            raise row.fault(name, "is neither a text nor a list of texts")
    return None


def _rank(row: Row, value: float) -> int:
    if not value.is_integer():
        raise row.fault("order", "holds something that is no rank")
    return int(value)


def _dimension_of(file: Path) -> str:
    """Return the dimension after which LLMZoo names the folder of its reviews."""
    folder = file.absolute().parent.name
    return folder if folder in _DIMENSIONS else "general"
