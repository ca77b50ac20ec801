"""The evaluator as a process: jobs over HTTP, real Redis, models behind a real socket."""

from __future__ import annotations

import pytest

from tests.fakes.evaluations import QUESTIONS, RUN, number_of, obliging, spec
from tests.fakes.scripted_models import Reply
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.redis


async def test_a_run_answers_judges_and_sums_up(evaluator, models):
    run = {"candidates": [{"model": "candidate", "system": "Be brief."}], "max_tokens": 20}
    path = await evaluator.create_run(spec(name="legs"), {**run, "temperature": 0.5})
    run = await evaluator.ended(path)

    assert run["status"] == "completed"
    assert run["progress"] == {
        "total": 6, "answered": 6, "judged": 6, "undecoded": 0, "errored": 0,
    }  # fmt: skip
    assert run["summary"]["mean_score"] == 3.5
    assert run["usage"]["judge"] == {"calls": 6, "prompt_tokens": 60, "completion_tokens": 18}
    assert run["created_at"] <= run["started_at"] <= run["finished_at"]
    items = await evaluator.items(path)
    assert [item["verdict"] for item in items] == [
        {"score": number, "rule": "keyed_line"} for number in range(1, 7)
    ]
    assert items[0]["question"] == {"id": "1", "text": QUESTIONS[0], "category": None}
    assert items[0]["answer"] == "It has 1 secret legs."
    assert items[0]["judge_text"] == "A secret reason.\nScore: 1"

    first = next(call for call in models.calls if call.model == "candidate")
    assert first.body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (first.body["max_tokens"], first.body["temperature"]) == (20, 0.5)
    assert {call.headers["x-llmzoo-priority"] for call in models.calls} == {"batch"}
    assert set(models.keys().values()) == {1}
    assert len(models.keys()) == 12


async def test_what_is_kept_can_be_listed_and_paged(evaluator):
    path = await evaluator.create_run(spec(), RUN)
    eval_path = path.rsplit("/runs/", 1)[0]
    await evaluator.ended(path)
    other = (await evaluator.post("/v1/evals", spec(QUESTIONS[:1], name="short"))).json()

    told = await evaluator.get(eval_path)
    assert [question["text"] for question in told["questions"]] == QUESTIONS
    page = await evaluator.get("/v1/evals", limit=1)
    assert page["has_more"]
    rest = await evaluator.get("/v1/evals", after=page["last_id"])
    assert not rest["has_more"]
    listed = page["data"] + rest["data"]
    assert sorted(entry["id"] for entry in listed) == sorted([told["id"], other["id"]])
    assert all(entry["questions"] == [] for entry in listed)
    runs = await evaluator.get(f"{eval_path}/runs")
    assert [run["id"] for run in runs["data"]] == [path.rsplit("/", 1)[1]]
    items = await evaluator.get(f"{path}/output_items", after="item_1", limit=2)
    assert [item["id"] for item in items["data"]] == ["item_2", "item_3"]
    assert items["has_more"]


async def test_an_unreadable_verdict_is_reported_and_in_no_denominator(evaluator, models):
    def vague(call):
        if call.model == "judge" and number_of(call) > 2:
            return Reply("It deserves a 7 or an 8.")
        return obliging(call)

    models.reply = vague
    path = await evaluator.create_run(spec(), RUN)
    run = await evaluator.ended(path)
    assert run["status"] == "completed"
    assert run["summary"] == {"mean_score": 1.5, "judged": 2, "undecoded": 4, "errored": 0}
    item = (await evaluator.items(path))[-1]
    assert item["status"] == "undecoded"
    assert item["verdict"] == {"score": None, "rule": "no_score"}


async def test_a_failing_item_is_errored_and_the_run_goes_on(evaluator, models):
    def failing(call):
        if number_of(call) == 2 and call.model == "candidate":
            return Reply(status=400, error={"message": "too long", "code": "context_length"})
        if number_of(call) == 3 and call.model == "judge":
            return Reply(raw={"choices": []})
        if number_of(call) == 4 and call.model == "candidate":
            message = {"content": ["no text, but secret"]}
            return Reply(raw={"choices": [{"message": message, "finish_reason": "stop"}]})
        return obliging(call)

    models.reply = failing
    path = await evaluator.create_run(spec(), RUN)
    run = await evaluator.ended(path)
    assert run["status"] == "completed"
    assert run["progress"]["errored"] == 3
    assert run["progress"]["answered"] == 4
    errors = [item["error"] for item in await evaluator.items(path)]
    assert errors[1] == {
        "stage": "answer", "message": "too long", "code": "context_length", "status": 400,
    }  # fmt: skip
    assert (errors[2]["stage"], errors[3]["stage"]) == ("judge", "answer")
    assert "secret" not in evaluator.log.read_text()
    assert errors[0] is errors[5] is None


async def test_a_run_without_any_verdict_has_failed(evaluator, models):
    models.reply = lambda _: Reply(status=404, error={"message": "no such model"})
    run = await evaluator.ended(await evaluator.create_run(spec(), RUN))
    assert run["status"] == "failed"
    assert run["error"]
    assert len(models.calls) == len(QUESTIONS)


async def test_an_overloaded_server_is_asked_again_with_the_same_key(evaluator, models):
    def full_once(call):
        if len(models.calls) == 1:
            return Reply(status=429, headers={"retry-after": "1"}, error={"message": "full"})
        return obliging(call)

    models.reply = full_once
    run = await evaluator.ended(await evaluator.create_run(spec(QUESTIONS[:1]), RUN))
    assert run["progress"]["judged"] == 1
    assert [call.model for call in models.calls] == ["candidate", "candidate", "judge"]
    assert models.calls[0].key == models.calls[1].key


async def test_cancelling_closes_the_calls_in_flight(evaluator, models):
    models.gate.clear()
    path = await evaluator.create_run(spec(), RUN)
    await models.until(lambda: models.open == 2)
    canceled = await evaluator.post(f"{path}/cancel")
    assert canceled.status_code == 200
    assert canceled.json()["status"] == "canceled"
    await models.until(lambda: models.cut == 2)
    again = (await evaluator.post(f"{path}/cancel")).json()
    assert again == canceled.json()
    assert len(models.calls) == 2


async def test_errors_are_openai_objects(evaluator):
    client = evaluator.client
    created = (await evaluator.post("/v1/evals", spec())).json()
    runs = f"/v1/evals/{created['id']}/runs"
    answers = {
        (400, "invalid_json"): await client.post("/v1/evals", content=b"{"),
        (413, "body_too_large"): await client.post("/v1/evals", content=b" " * 3_000_000),
        (404, "not_found"): await client.get("/v1/evals/eval_x"),
        (405, "method_not_allowed"): await client.delete("/v1/evals"),
        (400, "invalid_value"): await client.get("/v1/evals?limit=0"),
        (422, "invalid_spec"): await client.post(runs, json={"candidates": []}),
    }
    answers[404, "not_found"] = await client.get(f"{runs}/evalrun_{'0' * 32}")
    for (status, code), response in answers.items():
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (status, code)
        assert error["message"]
        assert error["type"] == "invalid_request_error"
    assert (await client.get("/v1/evals?after=x")).json()["error"]["param"] == "after"
    assert (await client.get(f"{runs}?limit=x")).json()["error"]["param"] == "limit"


async def test_operations(evaluator):
    await evaluator.ended(await evaluator.create_run(spec(), RUN))

    async def counted():
        metrics = (await evaluator.client.get("/metrics")).text
        return (
            'llmzoo_eval_items_total{outcome="judged"} 6.0' in metrics
            and 'llmzoo_judge_calls_total{outcome="ok"} 6.0' in metrics
            and 'llmzoo_eval_jobs{state="running"} 0.0' in metrics
            and 'llmzoo_eval_job_seconds_count{state="completed"} 1.0' in metrics
        )

    await eventually(counted, seconds=20)
    assert (await evaluator.get("/version"))["service"] == "evaluator"
    log = evaluator.log.read_text()
    assert "run ended" in log
    assert "secret" not in log
    assert "legs" not in log
