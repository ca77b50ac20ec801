"""Conversations from and to other programs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRequest
from shared.templates import Message
from shared.templates.formats import from_gradio, from_log_line, to_gradio, to_log_state
from shared.templates.messages import read_messages, to_openai

TALK = st.lists(st.builds(Message, st.sampled_from(["user", "assistant"]), st.text()))
ANY = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant", "tool"]), st.text())
)
SYSTEM = st.one_of(st.none(), st.builds(Message, st.just("system"), st.text(min_size=1)))


@given(ANY)
def test_openai_s_messages_come_back(talk):
    assert read_messages(to_openai(talk)) == tuple(talk)


@given(ANY)
def test_gradio_s_values_come_back(talk):
    assert from_gradio(to_gradio(talk)) == tuple(talk)


@given(SYSTEM, TALK)
def test_log_lines_come_back(system, talk):
    messages = (*([system] if system else []), *talk)
    assert from_log_line({"type": "chat", "state": to_log_state(messages)}) == messages
    assert from_log_line(to_log_state(messages, ("Q", "A"))) == messages


def test_gradio_s_older_forms_are_read():
    assert from_gradio([["Hi", "Hello"], ["Bye", None]]) == (
        Message("user", "Hi"),
        Message("assistant", "Hello"),
        Message("user", "Bye"),
    )
    with_extras = {"role": "user", "content": "Hi", "metadata": None, "options": None}
    assert from_gradio([with_extras]) == (Message("user", "Hi"),)
    assert from_gradio(None) == ()


def test_a_line_of_llmzoo_s_log_is_read():
    line = {
        "tstamp": 1.0,
        "type": "chat",
        "model": "phoenix",
        "state": {
            "system": "Be kind.\n\n",
            "roles": ["Human", "Assistant"],
            "messages": [
                ["Human", "Hi"],
                ["Assistant", "Hello"],
                ["Human", "?"],
                ["Assistant", None],
            ],
            "offset": 0,
            "sep": "</s>",
        },
    }
    assert from_log_line(line) == (
        Message("system", "Be kind.\n\n"),
        Message("user", "Hi"),
        Message("assistant", "Hello"),
        Message("user", "?"),
    )


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ("text", "messages"),
        ([1], "messages[0]"),
        ([["a", "b", "c"]], "messages[0]"),
        ([["a", 1]], "messages[0]"),
        ([{"role": "user", "content": {"path": "/etc/passwd"}}], "messages[0].content[0]"),
        ([{"role": "user", "content": "ok"}, {"role": "bot", "content": ""}], "messages[1].role"),
    ],
)
def test_what_gradio_never_sent_is_refused_with_its_place(value, param):
    with pytest.raises(InvalidRequest) as caught:
        from_gradio(value)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("state", "param"),
    [
        ([], "state"),
        ({}, "state.messages"),
        ({"messages": [["Human"]]}, "state.messages[0]"),
        ({"messages": [["Elf", "x"]]}, "state.messages[0]"),
        ({"messages": [["Human", 5]]}, "state.messages[0]"),
        ({"messages": [[["Human"], "x"]]}, "state.messages[0]"),
        ({"messages": [["Human", None], ["Assistant", "x"]]}, "state.messages[0]"),
        ({"messages": [], "roles": ["a"]}, "state.roles"),
        ({"messages": [], "system": 5}, "state.system"),
    ],
)
def test_a_broken_log_line_is_refused_with_its_place(state, param):
    with pytest.raises(InvalidRequest) as caught:
        from_log_line({"state": state})
    assert caught.value.param == param


@pytest.mark.parametrize("late", [Message("tool", "x"), Message("system", "x")])
def test_what_a_log_line_cannot_say_is_not_lost_silently(late):
    with pytest.raises(InvalidRequest) as caught:
        to_log_state([Message("user", "Hi"), late])
    assert caught.value.param == "messages[1].role"
