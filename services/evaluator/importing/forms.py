"""The forms in which other projects and we write questions, answers and reviews.

Owns by which fields each is known. Reads no values.
"""

from __future__ import annotations

from enum import StrEnum

from services.evaluator.importing.rows import Row


class Form(StrEnum):
    """What the rows of a file are; a file has one form."""

    QUESTION = "questions"
    ANSWER = "answers"
    FASTCHAT_ANSWER = "FastChat's answers"
    FASTCHAT_SINGLE = "FastChat's single judgments"
    FASTCHAT_PAIR = "FastChat's pair judgments"
    ALPACA_ANNOTATION = "AlpacaEval's annotations"
    ALPACA_OUTPUT = "AlpacaEval's model outputs"
    LLMZOO_REVIEW = "LLMZoo's reviews"
    REVIEW = "reviews"


_MODEL_NAMES = ("model_id", "model", "candidate")


def form_of(row: Row) -> Form:
    """Return a row's form. Raises MalformedFile where it has none that is known."""
    has = row.fields.keys()
    answered = any(name in has for name in _MODEL_NAMES)
    known = [
        (Form.REVIEW, {"lineup", "question_id"} <= has),
        (Form.FASTCHAT_PAIR, {"g1_winner", "model_1"} <= has),
        (Form.FASTCHAT_SINGLE, {"judgment", "score", "model"} <= has),
        (Form.FASTCHAT_ANSWER, {"choices", "question_id"} <= has),
        (Form.ALPACA_ANNOTATION, {"generator_1", "generator_2"} <= has),
        (Form.ALPACA_OUTPUT, {"instruction", "output"} <= has),
        (Form.LLMZOO_REVIEW, "question_id" in has and ("order" in has or "reviewer_id" in has)),
        (Form.ANSWER, "question_id" in has and (answered or "answer_id" in has)),
        (Form.QUESTION, bool({"turns", "text", "query"} & has)),
    ]
    for form, fits in known:
        if fits:
            return form
    raise row.fault("the row", "is of no form that can be read here")
