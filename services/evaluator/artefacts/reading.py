"""Reading LLMZoo's question and review files, each fault with its file and line.

Owns what these files must hold so that figures of them mean something. Knows no figure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson

from services.evaluator.artefacts.legacy_order import UNREAD
from services.evaluator.artefacts.rows import LegacyReview
from shared.errors import MalformedFile

_BOM = b"\xef\xbb\xbf"
_MIN_MODELS = 2

QuestionId = int | str


@dataclass(frozen=True, slots=True)
class ReviewLine:
    """One line of a review file."""

    line: int
    question: QuestionId
    models: tuple[str, ...]
    values: tuple[float, ...]
    text: str


def read_questions(file: Path) -> dict[QuestionId, str | None]:
    """Return each question's category, in ascending order of the ids.

    Raises:
        MalformedFile: a line is no question, an id stands twice, or ids are numbers and texts.
    """
    found: dict[QuestionId, str | None] = {}
    for line, row in _rows(file):
        question = _question_id(file, line, row)
        if question in found:
            raise MalformedFile(file, line, f"question_id {question!r} stands twice")
        if found and type(question) is not type(next(iter(found))):
            raise MalformedFile(file, line, "question_id is a number in some lines, text in others")
        category = row.get("category")
        if category is not None and not isinstance(category, str):
            raise MalformedFile(file, line, "category is no text")
        found[question] = category
    if not found:
        raise MalformedFile(file, None, "there is no question in it")
    return {question: found[question] for question in sorted(found, key=_sort_key)}


def read_reviews(
    file: Path, asked: Collection[QuestionId], *, scores: bool
) -> tuple[dict[QuestionId, ReviewLine], int]:
    """Return the reviews of the questions that are `asked`, and how many others were left out.

    Raises:
        MalformedFile: a line is no review, a question stands twice, or line-ups differ.
    """
    found: dict[QuestionId, ReviewLine] = {}
    left_out = 0
    first: ReviewLine | None = None
    for line, row in _rows(file):
        if _question_id(file, line, row) not in asked:
            left_out += 1
            continue
        review = _review(file, line, row, scores=scores)
        if review.question in found:
            raise MalformedFile(file, line, f"a second review of question {review.question!r}")
        first = first or review
        if len(review.models) != len(first.models):
            told = f"{len(review.models)} models, where line {first.line} has {len(first.models)}"
            raise MalformedFile(file, line, told)
        if review.models != first.models and set(review.models) == set(first.models):
            told = f"the models stand in another order than in line {first.line}"
            raise MalformedFile(file, line, told)
        found[review.question] = review
    return found, left_out


def matched(
    questions: dict[QuestionId, str | None],
    reviews: dict[QuestionId, ReviewLine],
    reviews_file: Path,
    category: str | None,
) -> dict[QuestionId, LegacyReview]:
    """Return the review of each question, of those of `category` alone if it is given.

    Raises:
        MalformedFile: a question has no review.
    """
    asked = [each for each, own in questions.items() if category is None or own == category]
    if not asked:
        raise MalformedFile(reviews_file, None, f"no question is of the category {category!r}")
    missing = [each for each in asked if each not in reviews]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        told = f"no review of question {missing[0]!r}{more}"
        raise MalformedFile(reviews_file, None, told)
    # The names of the first review are those of the files, whatever aliases others have.
    models = reviews[asked[0]].models
    return {each: LegacyReview(questions[each], models, reviews[each].values) for each in asked}


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object); empty lines are passed over."""
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                content = line.removeprefix(_BOM) if number == 1 else line
                if not content.strip():
                    continue
                try:
                    row: object = orjson.loads(content)
                except orjson.JSONDecodeError as fault:
                    raise MalformedFile(file, number, f"no JSON: {fault}") from None
                if not isinstance(row, dict):
                    raise MalformedFile(file, number, "no JSON object")
                yield number, cast("dict[str, Any]", row)
    except OSError as fault:
        raise MalformedFile(file, None, fault.strerror or str(fault)) from None


def _question_id(file: Path, line: int, row: dict[str, Any]) -> QuestionId:
    value: object = row.get("question_id")
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise MalformedFile(file, line, "question_id is missing, or neither a number nor a text")
    return value


def _sort_key(question: QuestionId) -> tuple[int, str]:
    return (question, "") if isinstance(question, int) else (0, question)


def _review(file: Path, line: int, row: dict[str, Any], *, scores: bool) -> ReviewLine:
    models = _models(file, line, row)
    key = "score" if scores else "order"
    values: object = row.get(key)
    if not isinstance(values, list):
        raise MalformedFile(file, line, f"{key} is missing or no list")
    listed = cast("list[object]", values)
    if len(listed) != len(models):
        told = f"{key} has {len(listed)} values for {len(models)} models"
        raise MalformedFile(file, line, told)
    text = row.get("text", "")
    return ReviewLine(
        line=line,
        question=_question_id(file, line, row),
        models=models,
        values=tuple(_value(file, line, each, len(models), scores=scores) for each in listed),
        text=text if isinstance(text, str) else "",
    )


def _models(file: Path, line: int, row: dict[str, Any]) -> tuple[str, ...]:
    metadata: object = row.get("metadata")
    ids: object = (
        cast("dict[str, object]", metadata).get("model_ids") if isinstance(metadata, dict) else None
    )
    names = cast("list[object]", ids) if isinstance(ids, list) else []
    models = tuple(name for name in names if isinstance(name, str))
    if len(models) != len(names) or len(models) < _MIN_MODELS:
        raise MalformedFile(file, line, "metadata.model_ids is no list of two or more names")
    if len(set(models)) != len(models):
        raise MalformedFile(file, line, "metadata.model_ids names a model twice")
    return models


def _value(file: Path, line: int, value: object, models: int, *, scores: bool) -> float:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    if scores:
        if number is not None:
            return number
        raise MalformedFile(file, line, f"score {value!r} is no number")
    if number == UNREAD or (isinstance(number, int) and 1 <= number <= models):
        return number
    raise MalformedFile(file, line, f"order has {value!r}: ranks go from 1 to {models}, or -1")
