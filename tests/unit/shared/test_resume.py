"""The body of a resume request: what it holds, and each fault named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRequest
from shared.protocol.body import parse_object
from shared.protocol.frames import StartFrame
from shared.protocol.resume import encode_resume, parse_resume

START = {
    "id": "cmpl-1",
    "created": 1,
    "model": "m",
    "seed": 7,
    "prompt_tokens": 3,
    "fingerprint": "fp",
}
GOOD: dict[str, Any] = {
    "path": "/v1/completions",
    "body": {"model": "m", "prompt": "hi"},
    "start": START,
    "token_ids": [[1, 2], []],
    "last_sequence_number": 2,
    "deterministic": True,
}

ids = st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=5), min_size=1, max_size=4)


@given(ids, st.integers(-(2**63), 2**63 - 1), st.booleans())
def test_what_is_encoded_is_parsed(token_ids, seed, deterministic):
    start = StartFrame(**{**START, "seed": seed})
    last = sum(map(len, token_ids))
    raw = encode_resume(
        "/v1/completions",
        b' {"prompt" : "\\u00e9", "seed": 1.50}',
        start,
        token_ids,
        last,
        deterministic=deterministic,
    )
    found = parse_resume(parse_object(raw))
    assert (found.path, found.body) == ("/v1/completions", {"prompt": "é", "seed": 1.5})
    assert StartFrame(**found.start.model_dump()) == start
    assert found.token_ids == token_ids
    assert (found.last_sequence_number, found.deterministic) == (last, deterministic)


BAD = [
    ("path", "/v1/models", "path"),
    ("path", 1, "path"),
    ("body", [], "body"),
    ("body", "{}", "body"),
    ("start", None, "start"),
    ("start", {}, "start.id"),
    ("start", {**START, "id": ""}, "start.id"),
    ("start", {**START, "created": 1.5}, "start.created"),
    ("start", {**START, "created": -1}, "start.created"),
    ("start", {**START, "model": ""}, "start.model"),
    ("start", {**START, "seed": 2**63}, "start.seed"),
    ("start", {**START, "seed": "7"}, "start.seed"),
    ("start", {**START, "prompt_tokens": 0}, "start.prompt_tokens"),
    ("start", {**START, "fingerprint": None}, "start.fingerprint"),
    ("start", {**START, "kind": 1}, "start.kind"),
    ("token_ids", [], "token_ids"),
    ("token_ids", [1, 2], "token_ids[0]"),
    ("token_ids", [[1, 2], {}], "token_ids[1]"),
    ("token_ids", [[1, True]], "token_ids[0][1]"),
    ("token_ids", [[1], [2, -1]], "token_ids[1][1]"),
    ("token_ids", [[2**31]], "token_ids[0][0]"),
    ("last_sequence_number", -1, "last_sequence_number"),
    ("last_sequence_number", 0, "last_sequence_number"),
    ("last_sequence_number", 3, "last_sequence_number"),
    ("last_sequence_number", 2**32, "last_sequence_number"),
    ("last_sequence_number", "2", "last_sequence_number"),
    ("deterministic", 1, "deterministic"),
    ("finish_reasons", ["stop", None], "finish_reasons"),
]


@pytest.mark.parametrize(("name", "value", "param"), BAD)
def test_each_fault_is_named(name, value, param):
    with pytest.raises(InvalidRequest) as caught:
        parse_resume({**GOOD, name: value})
    assert caught.value.param == param


@pytest.mark.parametrize("name", GOOD)
def test_every_field_is_required(name):
    with pytest.raises(InvalidRequest) as caught:
        parse_resume({key: value for key, value in GOOD.items() if key != name})
    assert (caught.value.param, caught.value.code) == (name, "missing_required_parameter")


def test_a_stream_of_which_only_the_start_came():
    nothing = parse_resume({**GOOD, "token_ids": [[], []], "last_sequence_number": 0})
    assert nothing.token_ids == [[], []]
