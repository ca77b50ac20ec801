"""Settings of an answer: what is accepted, and what a refusal says."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.chat.parameters import PARAMETERS, ParameterRefused, parameter_value


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temperature", "0", 0.0),
        ("temperature", "2", 2.0),
        ("top_p", "0.9", 0.9),
        ("max_tokens", "1", 1),
        ("seed", "-5", -5),
        ("stop", "END", "END"),
        ("stop", '["a", "b"]', ["a", "b"]),
        ("stop", '"\\n"', "\n"),
    ],
)
def test_a_fitting_value_is_read(name, text, value):
    assert parameter_value(name, text) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("temperature", "2.1"),
        ("temperature", "nan"),
        ("temperature", "inf"),
        ("temperature", "warm"),
        ("top_p", "-0.1"),
        ("max_tokens", "0"),
        ("max_tokens", "1.5"),
        ("seed", "9" * 30),
        ("stop", '["a", "b", "c", "d", "e"]'),
        ("stop", "[1]"),
        ("stop", '["a"'),
        ("stop", "[" * 100_000),
    ],
)
def test_a_refusal_says_what_is_possible(name, text):
    with pytest.raises(ParameterRefused, match=name) as refused:
        parameter_value(name, text)
    assert PARAMETERS[name].possible in str(refused.value)


def test_an_unknown_setting_names_all_there_are():
    with pytest.raises(ParameterRefused) as refused:
        parameter_value("warmth", "1")
    for name in PARAMETERS:
        assert name in str(refused.value)


@given(st.sampled_from(sorted(PARAMETERS)), st.text())
def test_any_text_is_read_or_refused(name, text):
    with contextlib.suppress(ParameterRefused):
        assert parameter_value(name, text) is not None


@given(st.floats(0, 2))
def test_every_temperature_of_the_api_is_taken(value):
    assert parameter_value("temperature", repr(value)) == value
