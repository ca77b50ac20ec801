"""OpenAI's bodies become our specs, or are refused with all of their faults at once."""

import pytest

from shared.protocol.evals.run import Sampling
from shared.protocol.evals.spec import Message
from tests.fakes.spec_readers import (
    Fleet,
    completions,
    faults_of,
    openai_eval,
    read_eval,
    read_run,
    string_check,
)

LABELS = {
    "type": "label_model",
    "name": "tone",
    "model": "judge",
    "input": [
        {"role": "system", "content": "Which tone?"},
        {
            "role": "user",
            "type": "message",
            "content": [{"type": "input_text", "text": "{{ item.q }}"}, "{{sample.output_text}}"],
        },
    ],
    "labels": ["kind", "rude"],
    "passing_labels": ["kind"],
}
SCORES = {
    "type": "score_model",
    "name": "how good",
    "model": "far/judge",
    "input": [{"role": "user", "content": "{{sample.output_text}}"}],
    "sampling_params": {"temperature": 0, "max_completions_tokens": 64, "seed": None},
    "pass_threshold": 0.5,
}
SIMILAR = {
    "type": "text_similarity",
    "name": "near",
    "input": "{{sample.output_text}}",
    "reference": "{{item.a}}",
    "evaluation_metric": "bleu",
    "pass_threshold": 0.5,
}

ANY_ROWS = {"type": "custom", "item_schema": {"properties": {"q": {}, "a": {}}}}


async def test_graders_of_each_kind():
    body = openai_eval(LABELS, SCORES, string_check(), SIMILAR, metadata={"team": "a"})
    spec = await read_eval(body)
    labels, scores, check, similar = spec.graders
    assert labels.input == [
        Message(role="system", content="Which tone?"),
        Message(role="user", content="{{ item.q }}\n{{sample.output_text}}"),
    ]
    assert (scores.range, scores.pass_threshold) == ((0, 1), 0.5)
    assert (check.operation, check.reference) == ("eq", "{{item.a}}")
    assert similar.evaluation_metric == "bleu"
    assert len({grader.id for grader in spec.graders}) == 4
    assert spec.openai["testing_criteria"] == body["testing_criteria"]
    assert spec.openai["data_source_config"] == body["data_source_config"]
    assert (spec.name, spec.metadata, spec.questions) == ("sums", {"team": "a"}, [])


async def test_all_faults_of_an_eval_are_told_at_once():
    fleet = Fleet()
    faults = await faults_of(
        read_eval(
            openai_eval(
                {**LABELS, "model": "nobody", "passing_labels": ["calm"]},
                {**LABELS, "labels": ["a", "a"], "passing_labels": []},
                {**SCORES, "range": [1, 1], "sampling_params": {"reasoning_effort": "high"}},
                {**SCORES, "pass_threshold": 3, "labels": []},
                string_check(operation="is", reference="{{item.z}}"),
                string_check(input="{{sample.text}} {{other}}"),
                {**SIMILAR, "evaluation_metric": "cosine"},
                {"type": "text_similarity", "name": ""},
                {"type": "python", "name": "p", "source": "import os"},
                {"type": "multi", "name": "m"},
                {"type": "new"},
                {**LABELS, "input": [{"role": "robot", "content": "x"}]},
                {**LABELS, "input": [{"role": "user", "content": {"type": "input_image"}}]},
                3,
                data_source_config={"type": "logs"},
                questions=[],
            ),
            fleet,
        )
    )
    where = "/testing_criteria"
    assert set(faults) == {
        "/data_source_config/type",
        "/questions",
        f"{where}/0/model",
        f"{where}/0/passing_labels",
        f"{where}/1/labels",
        f"{where}/1/passing_labels",
        f"{where}/2/range",
        f"{where}/2/sampling_params/reasoning_effort",
        f"{where}/3/pass_threshold",
        f"{where}/3/labels",
        f"{where}/4/operation",
        f"{where}/5/input",
        f"{where}/6/evaluation_metric",
        f"{where}/7/name",
        f"{where}/7/input",
        f"{where}/7/reference",
        f"{where}/7/evaluation_metric",
        f"{where}/7/pass_threshold",
        f"{where}/8/type",
        f"{where}/9/type",
        f"{where}/10/type",
        f"{where}/11/input/0/role",
        f"{where}/12/input/0/content",
        f"{where}/13",
    }
    assert "not served" in faults[f"{where}/8/type"]
    assert (fleet.looked_at, fleet.asked) == (1, [])


@pytest.mark.parametrize(
    ("schema", "name", "fits"),
    [
        ({}, "item.anything", True),
        ({"properties": {"q": {}}}, "item.q", True),
        ({"properties": {"q": {}}}, "item.p", False),
        ({"properties": {"q": {}}}, "item", False),
        ({"properties": {"q": {}}, "additionalProperties": True}, "item.p", True),
        ({"properties": {"q": {"properties": {"r": {}}}}}, "item.q.r", True),
        ({"properties": {"q": {"properties": {"r": {}}}}}, "item.q.s", False),
        ({"properties": {"q": {"type": "object"}}}, "item.q.s", True),
    ],
)
async def test_placeholders_are_in_the_items_schema(schema, name, fits):
    config = {"type": "custom", "item_schema": schema}
    body = openai_eval(string_check(reference="{{ " + name + " }}"), data_source_config=config)
    faults = await faults_of(read_eval(body))
    assert set(faults) == (set() if fits else {"/testing_criteria/0/reference"})


async def test_prompts_are_made_of_rows():
    spec = await read_eval(openai_eval(data_source_config=ANY_ROWS))
    settings = {"temperature": 0.5, "max_completion_tokens": 9, "response_format": {"type": "text"}}
    request = await read_run(
        completions({"q": "{{item.a}} <b>", "a": "2"}, {"q": 3}, sampling_params=settings), spec
    )
    run = request.run
    # A row's text is put in as it is: it names no other value.
    assert [question.messages[0].content for question in run.questions] == ["{{item.a}} <b>", "3"]
    assert [question.turns for question in run.questions] == [["{{item.a}} <b>"], ["3"]]
    assert [question.id for question in run.questions] == ["1", "2"]
    assert run.questions[0].item == {"q": "{{item.a}} <b>", "a": "2"}
    [candidate] = run.candidates
    assert (candidate.model, candidate.answers) == ("alpha", None)
    assert candidate.sampling == Sampling(temperature=0.5, max_tokens=9)
    assert run.openai["model"] == "alpha"


async def test_prompts_that_rows_bring():
    spec = await read_eval(openai_eval(data_source_config=ANY_ROWS))
    reference = {"type": "item_reference", "item_reference": "item.q"}
    told = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1"}]
    run = (await read_run(completions({"q": told}, {"q": "2"}, input_messages=reference), spec)).run
    assert [len(question.messages) for question in run.questions] == [2, 1]
    faults = await faults_of(
        read_run(completions({"q": told[:1]}, {"a": ""}, {"q": 3}, input_messages=reference), spec)
    )
    assert len(faults) == 3


async def test_answers_that_rows_bring():
    spec = await read_eval(openai_eval())
    rows = [{"item": {"a": "2"}, "sample": {"output_text": text}} for text in ("2", "")]
    rows.append({"item": {}, "sample": {"choices": [{"message": {"content": "x"}}]}})
    source = {"type": "jsonl", "source": {"type": "file_content", "content": rows}}
    fleet = Fleet("none")
    run = (await read_run({"data_source": source}, spec, fleet)).run
    assert [answer.turns for answer in run.candidates[0].answers] == [["2"], [""], ["x"]]
    assert run.candidates[0].model is None
    rows[1]["sample"] = {"output_text": 3}
    del rows[0]["sample"]
    faults = await faults_of(read_run({"data_source": source}, spec, fleet))
    assert set(faults) == {
        "/data_source/source/content/0/sample",
        "/data_source/source/content/1/sample/output_text",
    }


async def test_all_faults_of_a_run_are_told_at_once():
    fleet = Fleet("none")
    spec = await read_eval(openai_eval(LABELS))
    template = {"type": "template", "template": [{"role": "user", "content": "{{item.z}}"}]}
    body = completions(
        {"q": "x"},
        model="nobody",
        input_messages=template,
        sampling_params={"tools": [], "temperature": 7, "reasoning_effort": None, "top_p": True},
        extra=1,
    )
    body["data_source"]["source"]["content"] += [{"item": 3}, {"item": {}, "more": 1}, 4]
    faults = await faults_of(read_run({**body, "candidates": []}, spec, fleet))
    where = "/data_source"
    assert set(faults) == {
        "/candidates",
        f"{where}/extra",
        f"{where}/model",
        f"{where}/input_messages/template/0/content",
        f"{where}/sampling_params/tools",
        f"{where}/sampling_params/temperature",
        f"{where}/sampling_params/top_p",
        f"{where}/source/content/0/item",
        f"{where}/source/content/1/item",
        f"{where}/source/content/2/more",
        f"{where}/source/content/2/item",
        f"{where}/source/content/3",
        "",
    }
    assert "'judge'" in faults[""]


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ({"type": "responses"}, "/type"),
        ({"type": "jsonl", "source": {"type": "file_id", "id": "f"}}, "/source/type"),
        ({"type": "completions", "model": "alpha"}, "/source"),
        ({"type": "jsonl", "source": {"type": "file_content", "content": []}}, "/source/content"),
        ({"type": "jsonl", "source": {"type": "file_content", "content": 3}}, "/source/content"),
        ({"type": "jsonl", "source": 3}, "/source"),
        ({"type": "jsonl", "source": {}}, "/source/type"),
        (3, ""),
        ({}, "/type"),
    ],
)
async def test_sources_that_are_not_served(source, where):
    spec = await read_eval(openai_eval())
    faults = await faults_of(read_run({"data_source": source}, spec))
    assert f"/data_source{where}" in faults


async def test_an_evals_runs_have_its_form():
    spec = await read_eval(openai_eval())
    faults = await faults_of(read_run({"candidates": ["alpha"]}, spec))
    assert "/data_source" in faults
