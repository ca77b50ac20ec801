"""The rows of an OpenAI run fit the schema of their eval, or each misfit is told at its place."""

from __future__ import annotations

import pytest

from tests.fakes.spec_readers import completions, faults_of, openai_eval, read_eval, read_run

ROWS = "/data_source/source/content"
SCHEMA = {
    "type": "object",
    "properties": {
        "q": {"type": "string"},
        "a": {"type": ["string", "null"]},
        "level": {"enum": ["easy", "hard"]},
        "count": {"type": "integer"},
        "parts": {"type": "array", "items": {"type": "object", "required": ["x"]}},
    },
    "required": ["q"],
    "additionalProperties": False,
}


def with_schema(schema):
    return openai_eval(
        data_source_config={
            "type": "custom",
            "item_schema": schema,
            "include_sample_schema": True,
        }
    )


@pytest.mark.parametrize(
    ("item", "pointers"),
    [
        ({"q": "one", "a": None, "level": "easy", "count": 2.0, "parts": [{"x": 1}]}, set()),
        ({"a": "2"}, {"/q"}),
        ({"q": 5, "a": 5}, {"/q", "/a"}),
        ({"q": None}, {"/q"}),
        ({"q": "one", "level": "odd", "count": True}, {"/level", "/count"}),
        ({"q": "one", "count": 1.5, "more": 1}, {"/count", "/more"}),
        ({"q": "one", "parts": [{"x": 1}, {}, 3]}, {"/parts/1/x", "/parts/2"}),
        ({"q": "one", "parts": {}}, {"/parts"}),
    ],
)
async def test_rows_fit_the_schema(item, pointers):
    spec = await read_eval(with_schema(SCHEMA))
    faults = await faults_of(read_run(completions({"q": "good"}, item), spec))
    assert set(faults) == {f"{ROWS}/1/item{pointer}" for pointer in pointers}


async def test_what_the_schema_does_not_speak_of_is_let_through():
    schema = {"properties": {"q": True, "a": {"$ref": "#/nowhere"}}}
    spec = await read_eval(with_schema(schema))
    row = {"q": "one", "a": 3, "b": [{}]}
    assert await faults_of(read_run(completions(row), spec)) == {}


async def test_a_schema_that_is_none_is_a_fault():
    schema = {
        "type": "banana",
        "properties": {"q": {"type": ["string", "pear"]}, "a": {"items": 3}},
        "required": [1],
        "enum": "x",
    }
    where = "/data_source_config/item_schema"
    assert set(await faults_of(read_eval(with_schema(schema)))) == {
        f"{where}/type", f"{where}/properties/q/type", f"{where}/properties/a/items",
        f"{where}/required", f"{where}/enum",
    }  # fmt: skip
    assert set(await faults_of(read_eval(with_schema({"properties": []})))) >= {
        f"{where}/properties"
    }
