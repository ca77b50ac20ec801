"""The evaluator as a process: an eval over HTTP to its end, with figures, reports and files."""

from __future__ import annotations

import json

import pytest

from tests.fakes.scripted_models import Reply
from tests.fakes.spec_readers import eval_body

pytestmark = pytest.mark.redis

QUESTIONS = [
    {"question_id": number, "text": f"What is {number} + 1?", "category": category}
    for number, category in enumerate(["generic", "math", "generic", "fermi"], start=1)
]
BODY = eval_body(questions=QUESTIONS, mode="ordering", swap="both")
RUN = {"candidates": ["alpha", "beta"], "max_tokens": 20}


def ordering(call):
    """As a candidate say who you are; as a judge prefer alpha, wherever it stands."""
    if call.model != "judge":
        return Reply(f"{call.model} says so.")
    told = "\n".join(message["content"] for message in call.body["messages"])
    first = told.index("alpha says so.") < told.index("beta says so.")
    ranks = {"assistant_1": 1 if first else 2, "assistant_2": 2 if first else 1}
    return Reply(json.dumps({"reason": "alpha is better", "ranks": ranks}))


@pytest.fixture
def models(models):
    models.reply = ordering
    return models


async def test_an_eval_to_its_end(evaluator, models):
    eval_path = (await evaluator.post("/v1/evals", BODY)).headers["location"]
    dry = (await evaluator.post(f"{eval_path}/runs", {**RUN, "dry_run": True})).json()
    assert (dry["answers"], dry["judge"], dry["judge_at_most"]) == (8, 8, 16)
    assert models.calls == []
    path = (await evaluator.post(f"{eval_path}/runs", RUN)).headers["location"]
    run = await evaluator.ended(path)
    assert (run["status"], run["progress"]["judged"]) == ("completed", 8)
    assert len(models.calls) == dry["answers"] + dry["judge"]

    results = await evaluator.get(f"{path}/results")
    assert results["complete"]
    best = results["scopes"][0]["candidates"][0]
    assert (best["candidate"], best["mean_rank"]["value"]) == ("alpha", 1.0)
    assert (best["win_rate"]["n"], best["strict_win_rate"]["n"]) == (8, 4)
    assert best["strict_win_rate"]["value"] == 1.0
    some = await evaluator.get(f"{path}/results", category="generic")
    assert {scope["category"] for scope in some["scopes"]} == {"generic"}
    assert (await evaluator.client.get(f"{path}/results?category=x")).status_code == 400
    assert (await evaluator.get(f"{path}/results", judge="judge"))["scopes"] == results["scopes"]
    assert (await evaluator.client.get(f"{path}/results?judge=alpha")).status_code == 400
    for form in ("html", "md", "json", "csv", "jsonl"):
        report = await evaluator.client.get(f"{path}/report", params={"format": form})
        assert report.status_code == 200, report.text
        assert "alpha" in report.text or form == "html"
    items = await evaluator.client.get(f"{path}/report?format=csv&table=items")
    assert len(items.text.strip().splitlines()) > 8


async def test_llmzoos_files_of_a_run(evaluator, models):  # noqa: ARG001 - they answer
    path = await evaluator.create_run(BODY, RUN)
    await evaluator.ended(path)
    metric = await evaluator.get(f"{path}/artifacts/metric.json", horiz="1")
    # The question of math leaves the denominator.
    assert metric == {"alpha": {"order": 1.0, "score": 10.0}, "beta": {"order": 2.0, "score": 5.0}}
    ordering_file = await evaluator.client.get(f"{path}/artifacts/ordering.txt?horiz=1")
    assert [line.split()[0] for line in ordering_file.text.splitlines()] == [
        "Model", "alpha", "beta",
    ]  # fmt: skip
    reviews = await evaluator.client.get(f"{path}/artifacts/review.jsonl")
    rows = [json.loads(line) for line in reviews.text.splitlines()]
    assert [row["question_id"] for row in rows] == [1, 2, 3, 4]
    assert {tuple(row["order"]) for row in rows} == {(1, 2)}
    answers = await evaluator.client.get(f"{path}/artifacts/answers.jsonl?candidate=beta")
    assert {json.loads(line)["text"] for line in answers.text.splitlines()} == {"beta says so."}
    assert (await evaluator.client.get(f"{path}/artifacts/answers.jsonl")).status_code == 400
    assert (await evaluator.client.get(f"{path}/artifacts/metric.json?score=1")).status_code == 400

    # What was written is read again, as given reviews of a run that asks nobody.
    again = await evaluator.create_run({**BODY, "name": "again"}, {"reviews": rows})
    run = await evaluator.ended(again)
    assert (run["status"], run["progress"]["judged"]) == ("completed", 4)
    assert run["usage"]["judge"]["calls"] == 0
    figures = await evaluator.get(f"{again}/artifacts/metric.json", horiz="1")
    assert figures == metric


async def test_two_runs_beside_each_other(evaluator, models):  # noqa: ARG001 - they answer
    path = await evaluator.create_run(BODY, RUN)
    await evaluator.ended(path)
    other = await evaluator.create_run(BODY, {**RUN, "name": "again", "force_new": True})
    await evaluator.ended(other)
    told = await evaluator.get(f"{path}/compare", run=other.rsplit("/", 1)[1])
    assert told["questions"] == 4
    assert {row["candidate"] for row in told["rows"]} == {"alpha", "beta"}


async def test_twelve_faults_in_one_answer_and_no_call(evaluator, models):
    planted = {
        "questions": [{"text": "a"}, {"id": "1", "text": "b"}, {"text": " "}],
        "dimensions": [
            "beauty",
            "immersion",
            {"name": "tone", "criteria": "x", "low": 2, "high": 1},
        ],
        "mode": "guess",
        "swap": "twice",
        "repeats": 0,
        "judge": {"model": "nobody", "sampling": {"temperature": 5}},
        "weights": {"humour": 1},
        "metrics": ["beauty"],
        "colour": "red",
    }
    refused = await evaluator.post("/v1/evals", planted)
    assert refused.status_code == 422
    pointers = {fault["pointer"] for fault in refused.json()["error"]["errors"]}
    assert pointers == {
        "/questions/1/id", "/questions/2/text", "/dimensions/0", "/dimensions/1",
        "/dimensions/2/low", "/mode", "/swap", "/repeats", "/judge/model",
        "/judge/sampling/temperature", "/weights/humour", "/metrics/0", "/colour",
    }  # fmt: skip
    assert models.calls == []
