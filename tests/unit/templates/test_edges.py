"""What is defined where conversations are unusual."""

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ConfigurationError, InvalidRequest, UnsupportedParameter
from shared.templates import Message, render, spans
from shared.templates.catalogue import families
from shared.templates.messages import read_messages

U, A, S, T = (
    lambda text, role=role: Message(role, text) for role in ("user", "assistant", "system", "tool")
)
ROLES = st.sampled_from(["system", "user", "assistant"])
MESSAGES = st.lists(st.builds(Message, ROLES, st.text(max_size=12)), max_size=7)


def test_no_message_is_the_system_text_and_the_place_of_the_answer():
    assert render([], "chatml") == "<|im_start|>assistant\n"
    assert render([], "llama-2") == ""
    assert render([], "qwen").startswith("<|im_start|>system\nYou are")
    assert render([], "chatml", add_generation_prompt=False) == ""


def test_successive_messages_of_one_role_become_one_where_roles_must_alternate():
    assert render([U("a"), U("b")], "mistral") == "<s>[INST] a\n\nb [/INST]"
    assert render([U("a"), U("b")], "chatml").count("<|im_start|>user\n") == 2


def test_several_system_messages_become_one_before_all_turns():
    talk = [S("One."), U("Hi"), S("Two."), A("Ho"), S("")]
    assert render(talk, "zephyr").startswith("<|system|>\nOne.\n\nTwo.</s>\n<|user|>\nHi</s>")


def test_a_system_text_without_a_question_is_not_lost():
    assert render([S("Only this.")], "gemma", add_generation_prompt=False) == (
        "<bos><start_of_turn>user\nOnly this.\n\n<end_of_turn>\n"
    )
    assert "Only this." in render([S("Only this."), A("Hello")], "llama-2")


def test_tools_have_their_form_or_are_refused_by_name():
    talk = [U("Weather?"), A("I look."), T("sunny")]
    assert "<|start_header_id|>ipython<|end_header_id|>\n\nsunny<|eot_id|>" in render(
        talk, "llama-3"
    )
    assert "<tool_response>\nsunny\n</tool_response>" in render(talk, "qwen")
    with pytest.raises(InvalidRequest, match=r"vicuna.*tool") as caught:
        render(talk, "vicuna_v1.1")
    assert caught.value.param == "messages[2].role"


def test_content_may_be_a_list_of_text_parts():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert render([{"role": "user", "content": parts}], "plain") == "ab"
    assert render([{"role": "developer", "content": "x"}], "plain") == "x"


@pytest.mark.parametrize(
    ("message", "param", "fault"),
    [
        ({"role": "user", "content": None}, "messages[0].content", InvalidRequest),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0]", InvalidRequest),
        ({"role": "oracle", "content": "x"}, "messages[0].role", InvalidRequest),
        ({"content": "x"}, "messages[0].role", InvalidRequest),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
            "messages[0].content[0]",
            UnsupportedParameter,
        ),
        (
            {"role": "assistant", "content": "", "tool_calls": [{}]},
            "messages[0].tool_calls",
            UnsupportedParameter,
        ),
    ],
)
def test_what_is_no_message_is_refused_with_its_place(message, param, fault):
    with pytest.raises(fault) as caught:
        render([message], "plain")
    assert caught.value.param == param


@pytest.mark.parametrize("name", families())
def test_an_answer_can_be_continued(name):
    prompt = render([U("Count."), A("One, two,")], name, continue_final_message=True)
    assert prompt.endswith("One, two,")
    whole = render([U("Count."), A("One, two,")], name, add_generation_prompt=False)
    assert whole.startswith(prompt)


def test_only_an_answer_can_be_continued():
    for talk in ([], [U("Hi")]):
        with pytest.raises(InvalidRequest) as caught:
            render(talk, "chatml", continue_final_message=True)
        assert caught.value.param == "continue_final_message"


@pytest.mark.parametrize("name", families())
@settings(max_examples=30)
@given(messages=MESSAGES, generate=st.booleans())
def test_spans_are_what_the_messages_say_and_nothing_else(name, messages, generate):
    prompt = render(messages, name, add_generation_prompt=generate)
    found = spans(messages, name, add_generation_prompt=generate)
    assert all(a.end <= b.start for a, b in itertools.pairwise(found))
    said = "".join(prompt[span.start : span.end] for span in found)
    meant = "".join(message.text for message in messages)
    assert Counter("".join(said.split())) == Counter("".join(meant.split()))
    # Other words, the same frame.
    other = [Message(m.role, m.text and "x") for m in messages]
    if not families()[name].trim and not families()[name].merge:
        assert _frame(prompt, found) == _frame(
            render(other, name, add_generation_prompt=generate),
            spans(other, name, add_generation_prompt=generate),
        )


def _frame(prompt, found):
    position, pieces = 0, []
    for span in found:
        pieces.append(prompt[position : span.start])
        position = span.end
    return [*pieces, prompt[position:]]


@pytest.mark.parametrize("name", ["Vicuna v1.1", "vicuna", "LLAMA_3", "phi", "bloomz instruct"])
def test_names_are_forgiving(name):
    assert render([U("Hi")], name)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"'nonsense'.*chatml.*zephyr"):
        render([U("Hi")], "nonsense")


def test_messages_are_read_once_and_for_all():
    messages = read_messages([{"role": "tool", "content": "x"}, U("Hi")])
    assert messages == (T("x"), U("Hi"))
    assert read_messages(messages) == messages
