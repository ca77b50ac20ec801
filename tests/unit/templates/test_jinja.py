"""A tokenizer's own template: its environment, its sandbox, and what came from messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ConfigurationError, InvalidRequest
from shared.templates import Message, render, spans
from shared.templates.jinja_template import JinjaTemplate

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXTS = st.text(st.sampled_from("ab <|im_end|>\n\ufdd0é"), max_size=12)
TALKS = st.lists(st.builds(Message, st.sampled_from(["user", "assistant"]), TEXTS), max_size=5)


@given(TALKS)
def test_spans_hold_what_the_messages_say(talk):
    template = JinjaTemplate(CHATML)
    prompt, found = render(talk, template), spans(talk, template)
    said = [prompt[span.start : span.end] for span in found]
    assert said == [message.text.strip() for message in talk if message.text.strip()]
    rest = prompt
    for span in reversed(found):
        rest = rest[: span.start] + rest[span.end :]
    assert rest == render([Message(message.role, "") for message in talk], template)


def test_a_template_may_call_what_transformers_offers():
    template = JinjaTemplate(
        "{{ bos_token }}{% generation %}{{ messages | length }}{% endgeneration %}"
        "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}"
        "{{ m | tojson }}{% endfor %}{{ strftime_now('%Y') | length }}"
        "{{ tools is none }}{{ documents is none }}",
        {"bos_token": "<s>"},
    )
    talk = [Message("user", "<é>"), Message("user", "b")]
    assert render(talk, template) == '<s>2{"role": "user", "content": "<é>"}4TrueTrue'


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='system') }}",
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages[5]['role'] }}",
        "{% for i in range(10000000) %}x{% endfor %}",
    ],
)
def test_what_a_template_must_not_or_will_not_do_is_a_typed_error(source):
    with pytest.raises(InvalidRequest) as caught:
        render([Message("user", "Hi")], JinjaTemplate(source))
    assert caught.value.param == "messages"


def test_what_is_no_jinja_is_refused_when_it_is_read():
    with pytest.raises(ConfigurationError, match=r"'mine.jinja' is no Jinja"):
        JinjaTemplate("{% if %}", name="mine.jinja")


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}{{ m.content | replace('a', 'b') | length }}{% endfor %}",
        "{% for m in messages %}{{ m.content[:2] }}{% endfor %}",
        "{% for m in messages %}{{ m.content.split(' ')[-1] }}{% endfor %}",
        "{% for m in messages %}{{ 'odd' if m.content == 'x y' else m.content }}{% endfor %}",
    ],
)
def test_a_template_that_looks_into_messages_hides_them(source):
    template = JinjaTemplate(source)
    talk = [Message("user", "x y")]
    assert isinstance(render(talk, template), str)
    with pytest.raises(InvalidRequest, match="does not show"):
        spans(talk, template)


def test_an_answer_can_be_continued():
    template = JinjaTemplate(CHATML)
    talk = [Message("user", "One"), Message("assistant", "One")]
    prompt = render(talk, template, continue_final_message=True)
    assert prompt == "<|im_start|>user\nOne<|im_end|>\n<|im_start|>assistant\nOne"
    assert [span.role for span in spans(talk, template, continue_final_message=True)]
    hides = JinjaTemplate("{% for m in messages %}{{ m.content | upper }}{% endfor %}")
    with pytest.raises(InvalidRequest) as caught:
        render([Message("assistant", "One")], hides, continue_final_message=True)
    assert caught.value.param == "continue_final_message"
