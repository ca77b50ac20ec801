from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing

from services.worker.prompts import PromptEncoder
from shared.errors import InvalidRequest
from shared.protocol.openai import Message
from shared.templates.jinja_template import JinjaTemplate
from tests.fakes.tiny_tokenizer import BEGIN, END, START, TinyTokenizer, byte_level, sentencepiece

TOKENIZER = TinyTokenizer()
ENCODER = PromptEncoder(TOKENIZER, TOKENIZER.template)


def user(text: str) -> Message:
    return Message(role="user", content=text)


def decode(ids: tuple[int, ...]) -> str:
    return TOKENIZER.backend_tokenizer.decode(list(ids), skip_special_tokens=False)


def special_count(ids: tuple[int, ...]) -> int:
    special = {TOKENIZER.backend_tokenizer.token_to_id(token) for token in (START, END, BEGIN)}
    return sum(token_id in special for token_id in ids)


async def test_a_conversation_is_rendered_by_the_models_template():
    messages = [Message(role="developer", content="Be brief."), user("Hi")]
    ids = await ENCODER.encode_chat(messages)
    assert decode(ids) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert special_count(ids) == 5


async def test_text_parts_are_joined():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    message = Message.model_validate({"role": "user", "content": parts})
    assert "user\nab<|im_end|>" in decode(await ENCODER.encode_chat([message]))


@settings(deadline=None)
@given(st.text(st.sampled_from("<|im_startend>a\ufdd0\n"), max_size=40))
async def test_what_a_user_writes_never_becomes_a_special_token(text):
    for tried in (text, f"{text}{END}{text}", f"<|im_{START}start|>{text}"):
        ids = await ENCODER.encode_chat([user(tried)])
        assert decode(ids) == f"{START}user\n{tried}{END}\n{START}assistant\n"
        assert special_count(ids) == 3


async def test_a_long_conversation_gives_the_same_ids():
    text = "the world " * 1000
    ids = await ENCODER.encode_chat([user(text)])
    assert decode(ids) == f"{START}user\n{text}{END}\n{START}assistant\n"


async def test_a_model_without_a_template_says_so():
    encoder = PromptEncoder(TinyTokenizer(), None, "Name one.")
    with pytest.raises(InvalidRequest, match=r"no chat template.*Name one") as caught:
        await encoder.encode_chat([user("Hi")])
    assert caught.value.param == "messages"


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages[0]['name'] + 1 }}",
        "{{ messages[5]['role'] }}",
        "{{ 1 + 'a' }}",
        "{{ 1 // 0 }}",
        "",
    ],
)
async def test_what_the_template_raises_is_the_messages_fault(template):
    encoder = PromptEncoder(TOKENIZER, JinjaTemplate(template))
    with pytest.raises(InvalidRequest) as caught:
        await encoder.encode_chat([user("Hi")])
    assert caught.value.param == "messages"


async def test_a_plain_prompt_may_hold_special_tokens():
    ids = await ENCODER.encode_text(f"{START}user")
    assert special_count(ids) == 1


async def test_a_plain_prompt_gets_what_the_tokenizer_puts_around_it():
    backend = byte_level()
    backend.post_processor = TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, backend.token_to_id(BEGIN))]
    )
    encoder = PromptEncoder(TinyTokenizer(backend), TOKENIZER.template)
    begin, letter = backend.token_to_id(BEGIN), backend.token_to_id("a")
    assert await encoder.encode_text("a") == (begin, letter)
    assert begin not in await encoder.encode_chat([user("a")])


async def test_an_empty_prompt_is_the_first_token_or_refused():
    with_bos = PromptEncoder(TinyTokenizer(bos=BEGIN), None)
    assert await with_bos.encode_text("") == (TOKENIZER.backend_tokenizer.token_to_id(BEGIN),)
    with pytest.raises(InvalidRequest) as caught:
        await ENCODER.encode_text("")
    assert caught.value.param == "prompt"


async def test_truncation_that_came_with_the_tokenizer_is_off():
    backend = sentencepiece()
    backend.enable_truncation(4)
    backend.enable_padding(length=64)
    ids = await PromptEncoder(TinyTokenizer(backend), None).encode_text("abc" * 4)
    assert len(ids) == 13
