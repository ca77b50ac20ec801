"""OpenAI's own client works against the evaluation API: graders of each kind, both data sources."""

from __future__ import annotations

import re

import openai
import pytest

from services.evaluator.judging.choosing import assessment_of
from shared.errors import InvalidRequest
from tests.fakes.eval_calls import Said, ScriptedCalls
from tests.fakes.evaluation_api import EvaluationApi
from tests.fakes.evaluator_jobs import EvaluatorJobs
from tests.fakes.spec_readers import openai_eval, string_check
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.redis

TOKEN = "token"
LABELS = {
    "type": "label_model",
    "name": "parity",
    "model": "judge",
    "input": [
        {"role": "developer", "content": "Is the number odd or even?"},
        {"role": "user", "content": "{{item.q}} gave {{sample.output_text}}"},
    ],
    "labels": ["odd", "even"],
    "passing_labels": ["even"],
}
SCORES = {
    "type": "score_model",
    "name": "size",
    "model": "far/judge",
    "input": [{"role": "user", "content": "How large is {{sample.output_text}}?"}],
    "range": [0, 10],
    "pass_threshold": 4,
}
SIMILAR = {
    "type": "text_similarity",
    "name": "near",
    "input": "{{sample.output_text}}",
    "reference": "{{item.a}}",
    "evaluation_metric": "fuzzy_match",
    "pass_threshold": 0.9,
}
CHECK = string_check()
SUMS = [{"q": f"{n} + 1", "a": str(n + 1)} for n in range(4)]


def reply(ask):
    """Add as a candidate, wrongly once; as a judge read the number."""
    text = ask.text
    if ask.model == "alpha":
        number = int(text.split(" ")[0])
        return Said("9" if number == 3 else str(number + 1))
    said = " ".join(message["content"] for message in ask.body["messages"])
    number = int(re.search(r"(?:gave|large is) (\d+)", said)[1])
    if ask.model == "judge":
        return Said(f'{{"reason": "counted", "label": "{"odd" if number % 2 else "even"}"}}')
    return Said(f'{{"reason": "seen", "score": {number}}}')


@pytest.fixture
def calls():
    return ScriptedCalls(reply)


@pytest.fixture
async def api(redis_server, calls):
    running = await EvaluationApi(redis_server.url, token=TOKEN).listening()
    jobs = EvaluatorJobs(redis_server.url, calls, assessing=assessment_of).start()
    yield running
    calls.gate.set()
    await jobs.stop()
    await running.stop()


@pytest.fixture
async def client(api):
    async with openai.AsyncOpenAI(base_url=f"{api.url}/v1", api_key="none") as client:
        yield client


def source(rows=SUMS, **changes):
    return {
        "type": "completions",
        "source": {"type": "file_content", "content": [{"item": row} for row in rows]},
        "input_messages": {
            "type": "template",
            "template": [
                {"role": "developer", "content": "Say the number alone."},
                {"role": "user", "content": "{{item.q}}"},
            ],
        },
        "model": "alpha",
        "sampling_params": {"temperature": 0.5, "max_completion_tokens": 8, "seed": 3},
        **changes,
    }


async def polled(client, run):
    """Ask until a run has ended, as its users do."""
    found = []

    async def over():
        found.append(await client.evals.runs.retrieve(run.id, eval_id=run.eval_id))
        return found[-1].status not in {"queued", "in_progress"}

    await eventually(over, seconds=20)
    return found[-1]


async def test_evals_are_created_retrieved_updated_listed_and_deleted(client):
    body = openai_eval(LABELS, SCORES, CHECK, SIMILAR)
    made = await client.evals.create(**body, metadata={"team": "a"})
    assert (made.object, made.name, made.metadata) == ("eval", "sums", {"team": "a"})
    assert made.data_source_config.type == "custom"
    item = made.data_source_config.schema_["properties"]["item"]
    assert item == body["data_source_config"]["item_schema"]
    assert [each.type for each in made.testing_criteria] == [
        "label_model", "score_model", "string_check", "text_similarity",
    ]  # fmt: skip
    assert made.testing_criteria[0].passing_labels == ["even"]
    assert (await client.evals.retrieve(made.id)).to_dict() == made.to_dict()
    renamed = await client.evals.update(made.id, name="totals", metadata={"team": "b"})
    assert (renamed.name, renamed.metadata) == ("totals", {"team": "b"})
    other = await client.evals.create(**{**body, "name": "other"})
    page = await client.evals.list(limit=1, order="asc")
    assert [each.id async for each in page] == [made.id, other.id]
    deleted = await client.evals.delete(other.id)
    assert (deleted.deleted, deleted.eval_id) == (True, other.id)
    with pytest.raises(openai.APIStatusError) as caught:
        await client.evals.retrieve(other.id)
    assert caught.value.status_code == 410


async def test_a_run_answers_grades_and_is_told(client, calls):
    spec = openai_eval(LABELS, SCORES, CHECK, SIMILAR)
    evaluation = await client.evals.create(**spec)
    run = await client.evals.runs.create(
        evaluation.id, name="first", data_source=source(), metadata={"try": "1"}
    )
    assert run.status in {"queued", "in_progress"}
    ended = await polled(client, run)
    assert (ended.status, ended.name, ended.model) == ("completed", "first", "alpha")
    assert ended.metadata == {"try": "1"}
    assert ended.error is None
    # 1 is odd; 2 is even and below 4; 3 is odd; 9 is odd and wrong.
    counts = ended.result_counts
    assert (counts.total, counts.passed, counts.failed, counts.errored) == (4, 0, 4, 0)
    by_criterion = {
        each.testing_criteria: (each.passed, each.failed)
        for each in ended.per_testing_criteria_results
    }
    assert by_criterion == {"parity": (1, 3), "size": (1, 3), "right": (3, 1), "near": (3, 1)}
    used = {each.run_model_name: each for each in ended.per_model_usage}
    assert {name: each.invocation_count for name, each in used.items()} == {
        "alpha": 4, "judge": 4, "far/judge": 4,
    }  # fmt: skip
    assert used["alpha"].total_tokens == 4 * 13
    assert ended.report_url.endswith(f"/runs/{run.id}/report?format=html")
    assert ended.data_source.model == "alpha"
    assert ended.data_source.source.content[0].item == SUMS[0]

    asked = next(ask for ask in calls.asked if ask.model == "alpha")
    assert [message["role"] for message in asked.body["messages"]] == ["developer", "user"]
    assert (asked.body["temperature"], asked.body["max_tokens"], asked.body["seed"]) == (0.5, 8, 3)
    listed = [each async for each in await client.evals.runs.list(evaluation.id)]
    assert [each.id for each in listed] == [run.id]
    completed = await client.evals.runs.list(evaluation.id, status="in_progress")
    assert completed.data == []


async def test_output_items_are_rows_with_all_results(client):
    evaluation = await client.evals.create(**openai_eval(SCORES, CHECK))
    rows = [*SUMS, {"q": "4 + 1", "a": "5"}]
    run = await client.evals.runs.create(evaluation.id, data_source=source(rows))
    ended = await polled(client, run)
    counts = ended.result_counts
    assert (counts.total, counts.passed, counts.failed) == (5, 1, 4)
    items = client.evals.runs.output_items
    page = await items.list(run.id, eval_id=evaluation.id, limit=2)
    found = [each async for each in page]
    assert [each.datasource_item_id for each in found] == [0, 1, 2, 3, 4]
    assert [each.datasource_item for each in found] == rows
    last = found[-1]
    assert last.status == "pass"
    assert [(each.name, each.type, each.score, each.passed) for each in last.results] == [
        ("size", "score_model", 5, True),
        ("right", "string_check", 1, True),
    ]
    assert last.sample.output[0].content == "5"
    assert [each.role for each in last.sample.input] == ["developer", "user"]
    assert last.sample.usage.total_tokens == 13
    assert (last.sample.model, last.sample.finish_reason) == ("alpha", "stop")
    again = await items.retrieve(last.id, run_id=run.id, eval_id=evaluation.id)
    assert again.to_dict() == last.to_dict()
    passed = await items.list(run.id, eval_id=evaluation.id, status="pass", order="desc")
    assert [each.id for each in passed.data] == [last.id]
    failed = await items.list(run.id, eval_id=evaluation.id, status="fail", order="desc")
    assert [each.datasource_item_id for each in failed.data] == [3, 2, 1, 0]


async def test_answers_that_come_along_are_graded_without_a_candidate(client, calls):
    evaluation = await client.evals.create(**openai_eval(CHECK))
    content = [
        {"item": row, "sample": {"output_text": said}}
        for row, said in zip(SUMS, ["1", "2", "x", "4"], strict=True)
    ]
    run = await client.evals.runs.create(
        evaluation.id,
        data_source={"type": "jsonl", "source": {"type": "file_content", "content": content}},
    )
    ended = await polled(client, run)
    counts = ended.result_counts
    assert (counts.total, counts.passed, counts.failed) == (4, 3, 1)
    assert calls.asked == []
    [item] = (
        await client.evals.runs.output_items.list(run.id, eval_id=evaluation.id, status="fail")
    ).data
    assert (item.datasource_item, item.sample.output[0].content) == (SUMS[2], "x")


async def test_a_run_is_cancelled_and_deleted(client, calls):
    calls.gate.clear()
    evaluation = await client.evals.create(**openai_eval(CHECK))
    run = await client.evals.runs.create(evaluation.id, data_source=source())
    canceled = await client.evals.runs.cancel(run.id, eval_id=evaluation.id)
    assert canceled.status == "canceled"
    calls.gate.set()
    assert (await polled(client, run)).status == "canceled"
    deleted = await client.evals.runs.delete(run.id, eval_id=evaluation.id)
    assert (deleted.deleted, deleted.run_id) == (True, run.id)


async def test_faults_are_told_as_the_client_knows_them(client):
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        await client.evals.create(
            **openai_eval({**LABELS, "model": "nobody"}, SIMILAR | {"input": 3})
        )
    told = {each["pointer"] for each in caught.value.body["errors"]}
    assert told == {"/testing_criteria/0/model", "/testing_criteria/1/input"}
    assert caught.value.code == "invalid_spec"


async def test_a_failed_answer_is_an_errored_row(client, calls):
    def failing(ask):
        if ask.model == "alpha" and ask.text.startswith("1"):
            msg = "too long"
            raise InvalidRequest(msg, code="context_length_exceeded")
        return reply(ask)

    calls.reply = failing
    evaluation = await client.evals.create(**openai_eval(CHECK))
    run = await client.evals.runs.create(evaluation.id, data_source=source())
    ended = await polled(client, run)
    counts = ended.result_counts
    assert (counts.total, counts.errored, counts.passed, counts.failed) == (4, 1, 2, 1)
    item = await client.evals.runs.output_items.retrieve(
        "outputitem_1", run_id=run.id, eval_id=evaluation.id
    )
    assert (item.status, item.sample.error.code) == ("error", "context_length_exceeded")
    assert item.sample.output == []
    assert not item.results[0].passed
