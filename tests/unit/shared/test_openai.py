"""What is a valid request: every parameter's type and range, each fault named."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import InvalidRequest, UnsupportedParameter
from shared.protocol.openai import parse_chat, parse_completion

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
COMPLETION: dict[str, Any] = {"model": "m", "prompt": "hi"}

BAD_SAMPLING = [
    ("temperature", -0.1),
    ("temperature", 2.1),
    ("temperature", "0.5"),
    ("temperature", True),
    ("top_p", -0.1),
    ("top_p", 1.1),
    ("top_p", [1]),
    ("n", 0),
    ("n", -1),
    ("n", 129),
    ("n", 1.5),
    ("n", "1"),
    ("max_tokens", 0),
    ("max_tokens", -5),
    ("max_tokens", 1.0),
    ("max_tokens", 2**40),
    ("presence_penalty", 2.5),
    ("presence_penalty", "0"),
    ("frequency_penalty", -2.5),
    ("frequency_penalty", {}),
    ("stop", 5),
    ("stop", ""),
    ("stop", [""]),
    ("stop", ["a", 1]),
    ("stop", ["a", "b", "c", "d", "e"]),
    ("seed", 1.5),
    ("seed", "1"),
    ("seed", 2**63),
    ("seed", -(2**63) - 1),
    ("logit_bias", [1]),
    ("logit_bias", {"1": 101}),
    ("logit_bias", {"1": "x"}),
    ("logit_bias", {"-1": 1}),
    ("logit_bias", {str(i): 1 for i in range(301)}),
    ("top_k", -2),
    ("top_k", 1.5),
    ("top_k", True),
    ("min_p", -0.1),
    ("min_p", 1.1),
    ("min_p", "0"),
    ("repetition_penalty", 0),
    ("repetition_penalty", -1),
    ("repetition_penalty", 101),
    ("repetition_penalty", "1"),
    ("min_tokens", -1),
    ("min_tokens", 1.5),
    ("stop_token_ids", 5),
    ("stop_token_ids", [-1]),
    ("stop_token_ids", ["1"]),
    ("stop_token_ids", [1] * 301),
    ("ignore_eos", 1),
    ("logprobs", "5"),
    ("logprobs", -1),
    ("stream", "true"),
    ("stream", 1),
    ("user", 1),
    ("metadata", {"a": 1}),
    ("metadata", {str(i): "x" for i in range(17)}),
    ("store", "yes"),
    ("service_tier", "gold"),
    ("safety_identifier", 1),
    ("prompt_cache_key", []),
    ("model", 1),
    ("model", ""),
    ("model", None),
    ("frobnicate", 1),
]


@pytest.mark.parametrize(("name", "value"), BAD_SAMPLING)
@pytest.mark.parametrize("kind", ["chat", "completion"])
def test_a_bad_value_is_refused_by_name(kind: str, name: str, value: object) -> None:
    parse, body = (parse_chat, CHAT) if kind == "chat" else (parse_completion, COMPLETION)
    with pytest.raises(InvalidRequest) as refused:
        parse({**body, name: value})
    assert refused.value.status == 400
    assert refused.value.param is not None
    assert refused.value.param.split(".")[0].split("[")[0] == name


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ("hi", "messages"),
        ([1], "messages[0]"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": "wizard", "content": "x"}], "messages[0].role"),
        ([{"role": "tool", "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"role": "user", "content": 3}], "messages[0].content"),
        ([{"role": "user", "content": []}], "messages[0].content"),
        ([{"role": "user", "content": "x", "mood": 1}], "messages[0].mood"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
            "messages[0].content[0].type",
        ),
        (
            [{"role": "user", "content": [{"type": "text", "text": 4}]}],
            "messages[0].content[0].text",
        ),
        ([*CHAT["messages"], {"role": 5, "content": "x"}], "messages[1].role"),
    ],
)
def test_a_bad_message_is_refused_by_its_place(messages: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_chat({**CHAT, "messages": messages})
    assert refused.value.param == param


@pytest.mark.parametrize("name", ["model", "messages"])
def test_a_missing_parameter_is_named(name: str) -> None:
    body = {key: value for key, value in CHAT.items() if key != name}
    with pytest.raises(InvalidRequest) as refused:
        parse_chat(body)
    assert (refused.value.param, refused.value.code) == (name, "missing_required_parameter")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", [{"type": "function"}]),
        ("response_format", {"type": "json_object"}),
        ("tool_choice", "required"),
    ],
)
def test_what_nobody_can_honour_yet_is_refused_and_not_ignored(name: str, value: object) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        parse_chat({**CHAT, name: value})
    assert refused.value.param == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("presence_penalty", -2),
        ("frequency_penalty", 2),
        ("logit_bias", {}),
        ("logit_bias", {str(i): -100 for i in range(300)}),
        ("logprobs", False),
        ("logprobs", True),
        ("top_k", -1),
        ("top_k", 0),
        ("top_k", 10**6),
        ("min_p", 0),
        ("min_p", 1),
        ("repetition_penalty", 1),
        ("repetition_penalty", 0.5),
        ("min_tokens", 0),
        ("stop_token_ids", []),
        ("stop_token_ids", [5, 6]),
        ("ignore_eos", True),
        ("tools", []),
        ("response_format", {"type": "text"}),
        ("temperature", 1),
        ("temperature", None),
        ("user", "someone"),
        ("metadata", {"a": "b"}),
        ("store", True),
        ("service_tier", "auto"),
        ("safety_identifier", "x"),
        ("prompt_cache_key", "x"),
        ("stop", []),
        ("stop", ["a", "b", "c", "d"]),
        ("seed", -(2**63)),
        ("seed", 2**63 - 1),
    ],
)
def test_neutral_and_ineffective_values_are_taken(name: str, value: object) -> None:
    parse_chat({**CHAT, name: value})


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"top_logprobs": 5, "logprobs": False}, "top_logprobs"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
    ],
)
def test_parameters_that_contradict_each_other(extra: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_chat({**CHAT, **extra})
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("extra", "param"),
    [({"logprobs": 6}, "logprobs"), ({"logprobs": True}, "logprobs"), ({"echo": "x"}, "echo")],
)
def test_what_completions_have_for_themselves(extra: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_completion({**COMPLETION, **extra})
    assert refused.value.param == param
    assert parse_completion({**COMPLETION, "logprobs": 0}).logprobs == 0
    assert parse_completion({**COMPLETION, "logprobs": 5, "echo": False}).logprobs == 5


def test_an_echo_has_no_logprobs_yet() -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        parse_completion({**COMPLETION, "echo": True, "logprobs": 0})
    assert refused.value.param == "echo"


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a", ["a"]),
        ("", [""]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ],
)
def test_every_form_of_a_prompt(prompt: object, prompts: object) -> None:
    assert parse_completion({**COMPLETION, "prompt": prompt}).prompts == prompts


@pytest.mark.parametrize(
    "prompt", [None, 3, {}, [], [[]], [1, "a"], ["a", 1], [-1], [2**31], [[1], "a"]]
)
def test_a_bad_prompt_is_refused(prompt: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_completion({**COMPLETION, "prompt": prompt})
    assert (refused.value.param or "").startswith("prompt")


def test_what_the_shape_tells() -> None:
    request = parse_chat(
        {**CHAT, "max_completion_tokens": 7, "stop": "x", "n": 2, "stream": True,
         "stream_options": {"include_usage": True},
         "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 2}]}
    )  # fmt: skip
    assert request.answer_tokens == 7
    assert request.stop_strings == ("x",)
    assert request.choices == 2
    assert request.include_usage
    assert request.messages[0].text == "aa"
    assert parse_completion(COMPLETION).answer_tokens == 16
