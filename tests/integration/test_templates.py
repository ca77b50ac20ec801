"""Our rendering and encoding beside transformers', on the demo model's tokenizer and others."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from services.worker.control_tokens import ControlTokens
from shared.templates import Message, render
from shared.templates.jinja_template import JinjaTemplate
from shared.templates.messages import to_openai
from tests.fakes.tiny_tokenizer import byte_level

pytestmark = pytest.mark.torch

# The manners that published templates have: loops with counters, white space control, macros,
# namespaces, system messages kept for later, tests of their variables, filters.
TEMPLATES = {
    "trim": (
        "{{ bos_token }}{% for message in messages %}\n"
        "    {%- if loop.index0 % 2 == 0 -%}\n"
        "[INST] {{ message['content'] | trim }} [/INST]\n"
        "    {%- else %} {{ message.content.strip() + eos_token }}\n"
        "    {%- endif %}\n"
        "{% endfor %}"
    ),
    "system kept": (
        "{% if messages[0].role == 'system' %}{% set system = messages[0].content + '\\n\\n' %}"
        "{% set rest = messages[1:] %}{% else %}{% set system = '' %}{% set rest = messages %}"
        "{% endif %}{% for m in rest %}<|im_start|>{{ m.role }}\n"
        "{% if loop.first %}{{ system }}{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "namespace": (
        "{% set ns = namespace(count=0) %}{% macro turn(m) %}{{ m.role ~ ': ' ~ m.content }}"
        "{% endmacro %}{%- for m in messages -%}{% set ns.count = ns.count + 1 %}\n"
        "{{ ns.count }} {{ turn(m) }}\n{%- endfor -%}\n"
        "{%- if tools is defined and tools is not none %}{{ tools | tojson }}{% endif -%}\n"
    ),
    "json": "{% for m in messages %}{{ m | tojson }}\n{% endfor %}",
    "generation": (
        "{% for m in messages %}{% if m.role == 'assistant' %}"
        "{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}"
        "<|im_end|>{% endfor %}"
    ),
}
ROLES = st.sampled_from(["system", "user", "assistant"])
TALKS = st.lists(st.builds(Message, ROLES, st.text(max_size=20)), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def demo_tokenizer():
    command = [sys.executable, "-m", "services.worker.models", "add", "demo"]
    folder = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("name", TEMPLATES)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(talk=TALKS, generate=st.booleans())
def test_prompts_and_ids_are_transformers_own(name, talk, generate):
    theirs = PreTrainedTokenizerFast(
        tokenizer_object=byte_level(),
        bos_token="<|begin|>",
        eos_token="<|im_end|>",
        chat_template=TEMPLATES[name],
    )
    ours = JinjaTemplate(TEMPLATES[name], theirs.special_tokens_map)
    _compare(theirs, ours, talk, generate)


@pytest.mark.model
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(talk=TALKS, generate=st.booleans())
def test_the_demo_model_s_prompts_and_ids_are_transformers_own(demo_tokenizer, talk, generate):
    ours = JinjaTemplate(demo_tokenizer.chat_template, demo_tokenizer.special_tokens_map)
    _compare(demo_tokenizer, ours, talk, generate)


@pytest.mark.model
def test_the_demo_model_s_own_template_is_the_chatml_family(demo_tokenizer):
    talk = [
        Message("system", "Be brief."),
        Message("user", "Hi"),
        Message("assistant", "Hello!"),
        Message("user", "Bye"),
    ]
    own = JinjaTemplate(demo_tokenizer.chat_template, demo_tokenizer.special_tokens_map)
    assert render(talk, own) == render(talk, "chatml")


def _compare(theirs, ours, talk, generate):
    messages = to_openai(talk)
    options = {"add_generation_prompt": generate}
    assert render(talk, ours, **options) == theirs.apply_chat_template(
        messages, tokenize=False, **options
    )
    special = set(theirs.get_added_vocab())
    if not any(token in message.text for message in talk for token in special):
        ids = theirs.apply_chat_template(messages, tokenize=True, return_dict=False, **options)
        prompt = ours.render(tuple(talk), **options)
        assert ControlTokens(theirs.backend_tokenizer).encode(prompt) == ids
