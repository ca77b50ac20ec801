"""Small question and review files in LLMZoo's form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_questions(file: Path, categories: Sequence[str]) -> Path:
    """Write one question a category, with ids from 1."""
    rows = [
        {"question_id": place, "text": f"Question {place}?", "category": category, "lang": "en"}
        for place, category in enumerate(categories, start=1)
    ]
    return write_rows(file, rows)


def write_reviews(
    file: Path,
    verdicts: dict[int, Sequence[float]],
    *,
    key: str = "order",
    models: Sequence[str] = ("A", "B", "C"),
) -> Path:
    """Write one review a question, in the order of `verdicts`."""
    rows = [
        {
            "review_id": number,
            "question_id": question,
            "metadata": {"model_ids": list(models)},
            "text": "",
            key: list(values),
        }
        for number, (question, values) in enumerate(verdicts.items(), start=1)
    ]
    return write_rows(file, rows)


def write_rows(file: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows as LLMZoo does: one a line, and no newline at the end."""
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")
    return file
