"""A body is a JSON object or a 400 that says what is wrong with it."""

from __future__ import annotations

import orjson
import pytest

from shared.errors import InvalidRequest
from shared.protocol.body import MAX_DEPTH, parse_object


def test_an_object_comes_back() -> None:
    assert parse_object(b'{"model": "m", "n": 1}') == {"model": "m", "n": 1}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": "\\ud800"}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_no_json_object(raw: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_object(raw)
    assert refused.value.code == "invalid_json"


def test_invalid_utf8_names_the_byte() -> None:
    with pytest.raises(InvalidRequest, match=r"UTF-8.*byte 6"):
        parse_object(b'{"a":"\xff"}')


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize(
    ("body", "param"),
    [('{{"temperature": {}}}', "temperature"), ('{{"logit_bias": {{"1": {}}}}}', "logit_bias")],
)
def test_a_number_that_json_lacks_is_named(body: str, param: str, token: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_object(body.format(token).encode())
    assert refused.value.param == param
    assert token in refused.value.message


def test_nesting_is_bounded_and_the_parameter_named() -> None:
    deep: object = 1
    for _ in range(MAX_DEPTH + 5):
        deep = [deep]
    with pytest.raises(InvalidRequest) as refused:
        parse_object(orjson.dumps({"model": "m", "messages": deep}))
    assert refused.value.param == "messages"
    with pytest.raises(InvalidRequest):
        parse_object(b'{"a":' * 5000 + b"1" + b"}" * 5000)
