"""LLMZoo's rows: what its figures need of a review, and reviews and answers as it writes them.

Rows are made of plain data: which run they come from is somebody else's affair.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from services.evaluator.artefacts.legacy_order import UNREAD


@dataclass(frozen=True, slots=True)
class LegacyReview:
    """What LLMZoo's figures need of one review."""

    category: str | None
    models: tuple[str, ...]
    values: tuple[float, ...]
    """Ranks or scores in the order of `models`; with a -1 in it, it could not be read."""


@dataclass(frozen=True, slots=True)
class CandidateAnswer:
    """One candidate's answer to one question."""

    candidate: str
    text: str


@dataclass(frozen=True, slots=True)
class ReviewedQuestion:
    """One review of all candidates' answers; lists are in the order of the candidates."""

    question: str
    text: str
    category: str | None
    language: str | None
    answers: tuple[CandidateAnswer, ...]
    judge: str = ""
    judge_text: str = ""
    ranks: tuple[int, ...] | None = None
    scores: tuple[float, ...] | None = None
    """Instead of ranks, where the judge was asked for scores."""


def legacy_reviews(
    questions: Sequence[ReviewedQuestion], *, scores: bool = False
) -> list[LegacyReview]:
    """Return what the figures need of `questions`; one without a verdict has -1 everywhere."""
    rows: list[LegacyReview] = []
    for each in questions:
        models = tuple(answer.candidate for answer in each.answers)
        rows.append(LegacyReview(each.category, models, tuple(_values(each, scores=scores))))
    return rows


def review_rows(
    questions: Sequence[ReviewedQuestion], *, scores: bool = False
) -> list[dict[str, Any]]:
    """Return the rows of `review.jsonl`: one a question, with `order` or `score` at its end."""
    return [
        {
            "review_id": number,
            "reviewer_id": each.judge,
            "lang": each.language,
            "question_id": _question_id(each.question),
            "answer_ids": [_answer_id(each, answer) for answer in each.answers],
            "category": each.category,
            "metadata": {
                "question": each.text,
                "answers": [answer.text for answer in each.answers],
                "model_ids": [answer.candidate for answer in each.answers],
            },
            "text": each.judge_text,
            "score" if scores else "order": _values(each, scores=scores),
        }
        for number, each in enumerate(questions, start=1)
    ]


def answer_rows(questions: Sequence[ReviewedQuestion], candidate: str) -> list[dict[str, Any]]:
    """Return the rows of one candidate's answer file; questions that it lacks are left out."""
    return [
        {
            "question_id": _question_id(each.question),
            "text": answer.text,
            "answer_id": _answer_id(each, answer),
            "model_id": candidate,
            "category": each.category,
            "lang": each.language,
            "metadata": {},
        }
        for each in questions
        for answer in each.answers
        if answer.candidate == candidate
    ]


def as_jsonl(rows: Iterable[dict[str, Any]]) -> str:
    """Return rows as LLMZoo writes them: one a line, all characters as they are."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _values(each: ReviewedQuestion, *, scores: bool) -> list[float]:
    said: Sequence[float] | None = each.scores if scores else each.ranks
    return [UNREAD] * len(each.answers) if said is None else list(said)


def _question_id(question: str) -> int | str:
    """Return the id as a number where it is one: LLMZoo's are, and their order depends on it."""
    is_number = question.isascii() and question.isdecimal() and str(int(question)) == question
    return int(question) if is_number else question


def _answer_id(each: ReviewedQuestion, answer: CandidateAnswer) -> str:
    """Return the same id for the same answer in every file, as the files refer to it."""
    content = f"{each.question}\0{answer.candidate}\0{answer.text}"
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:22]
