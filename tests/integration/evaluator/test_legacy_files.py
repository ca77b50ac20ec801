"""LLMZoo's reviews go in over HTTP as given reviews, and its files come out byte for byte."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.redis


def cells(folder):
    found = sorted((folder / "reviews").glob("*/*/*/review.jsonl"))
    assert found
    return found


def body(rows, name):
    questions = [
        {
            "question_id": row["question_id"],
            "text": row["metadata"]["question"],
            "category": row["category"],
            "lang": row["lang"],
        }
        for row in rows
    ]
    dimension = name[-1]
    return {
        "name": "/".join(name),
        "questions": questions,
        "dimensions": [dimension],
        "mode": "ordering",
    }


async def test_files_are_the_same(evaluator, models, eval_data):
    for file in cells(eval_data):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        path = await evaluator.create_run(body(rows, file.parts[-4:-1]), {"reviews": rows})
        run = await evaluator.ended(path)
        assert (run["status"], run["progress"]["judged"]) == ("completed", len(rows))
        # The first set was made against its first model, the others side by side.
        query = "" if file.parts[-4] == "review_output" else "?horiz=true"
        for name in ("metric.json", "ordering.txt"):
            told = await evaluator.client.get(f"{path}/artifacts/{name}{query}")
            assert told.content == file.with_name(name).read_bytes(), (file, name)
        again = await evaluator.client.get(f"{path}/artifacts/review.jsonl")
        written = [json.loads(line) for line in again.text.splitlines()]
        assert [row["order"] for row in written] == [row["order"] for row in rows]
        assert [row["text"] for row in written] == [row["text"] for row in rows]
    assert models.calls == []
