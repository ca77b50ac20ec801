"""Messages and prompts to token ids, with the model's own template and tokenizer.

In a conversation, what a user writes is text: a special token spelled out in a message is
encoded letter by letter and ends no turn. In a plain prompt it is the special token, since
there the caller writes the template. Owns rendering and encoding. Knows no limits.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Protocol, cast

from jinja2 import TemplateError
from tokenizers import Tokenizer

from shared.errors import InvalidRequest
from shared.protocol.openai import Message

# Above this, encoding would be felt by the other requests on the event loop.
_LONG_TEXT = 2048
# Unicode's noncharacters: no text has to contain them, so one is free to mark a break.
_NONCHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]
# What Jinja raises, and what Python raises within a template's expressions.
_TEMPLATE_FAULTS = (
    TemplateError,
    TypeError,
    ValueError,
    LookupError,
    ArithmeticError,
    AttributeError,
)


class ChatTokenizer(Protocol):
    """What is needed of a transformers tokenizer."""

    chat_template: Any

    @property
    def bos_token_id(self) -> Any:
        """The id of the token that begins a text, if there is one."""
        ...

    @property
    def backend_tokenizer(self) -> Tokenizer:
        """The tokenizer itself."""
        ...

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        """Render a conversation."""
        ...


class PromptEncoder:
    """Makes token ids of whatever a request brings."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        """Take the tokenizer over; truncation and padding that came with it are turned off."""
        self._tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        cast("Any", self._backend).no_truncation()
        cast("Any", self._backend).no_padding()
        self._bos: int | None = tokenizer.bos_token_id
        self._special = _pattern_of_special_tokens(self._backend)

    async def encode_chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Return the ids of a conversation, up to where the answer begins.

        Raises:
            InvalidRequest: the model has no template, or the template refuses the messages.
        """
        if self._tokenizer.chat_template is None:
            msg = "This model has no chat template; use /v1/completions."
            raise InvalidRequest(msg, param="messages", code="no_chat_template")
        turns = [(_role(message), message.text) for message in messages]
        if sum(len(text) for _, text in turns) > _LONG_TEXT:
            return await asyncio.to_thread(self._encode_turns, turns)
        return self._encode_turns(turns)

    async def encode_text(self, prompt: str) -> tuple[int, ...]:
        """Return the ids of a plain prompt; an empty one is the model's first token.

        Raises:
            InvalidRequest: there are no ids for it.
        """
        if len(prompt) > _LONG_TEXT:
            ids = await asyncio.to_thread(self._encode, prompt, add_special_tokens=True)
        else:
            ids = self._encode(prompt, add_special_tokens=True)
        if not ids and self._bos is not None:
            ids = [self._bos]
        if not ids:
            raise InvalidRequest("The prompt is empty.", param="prompt")
        return tuple(ids)

    def _encode_turns(self, turns: list[tuple[str, str]]) -> tuple[int, ...]:
        mark = _free_noncharacter(text for _, text in turns)
        conversation = [
            {"role": role, "content": self._break_special_tokens(text, mark)}
            for role, text in turns
        ]
        try:
            rendered: str = self._tokenizer.apply_chat_template(
                conversation, tokenize=False, add_generation_prompt=True
            )
        except _TEMPLATE_FAULTS as fault:
            msg = f"The model's chat template refuses these messages: {fault}"
            raise InvalidRequest(msg, param="messages") from None
        ids = [
            token_id
            for part in rendered.split(mark)
            for token_id in self._encode(part, add_special_tokens=False)
        ]
        if not ids:
            raise InvalidRequest("The messages give an empty prompt.", param="messages")
        return tuple(ids)

    def _encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        # The backend itself: transformers' wrapper changes its state, which threads may not.
        return self._backend.encode(text, add_special_tokens=add_special_tokens).ids

    def _break_special_tokens(self, text: str, mark: str) -> str:
        """Put `mark` into every special token, where the rendered text is cut afterwards."""
        while self._special is not None and self._special.search(text):
            text = self._special.sub(lambda found: found[0][0] + mark + found[0][1:], text)
        return text


def _role(message: Message) -> str:
    # OpenAI renamed the role; templates know the old name.
    return "system" if message.role == "developer" else message.role


def _free_noncharacter(texts: Any) -> str:
    used = {character for text in texts for character in text if character in _NONCHARACTERS}
    for candidate in _NONCHARACTERS:
        if candidate not in used:
            return candidate
    msg = "The messages hold every noncharacter from U+FDD0 to U+FDEF."
    raise InvalidRequest(msg, param="messages")


def _pattern_of_special_tokens(tokenizer: Tokenizer) -> re.Pattern[str] | None:
    tokens: dict[int, Any] = cast("Any", tokenizer).get_added_tokens_decoder()
    contents = [token.content for token in tokens.values() if token.special]
    # A token of one character cannot be broken; longest first, as the tokenizer matches.
    breakable = sorted((text for text in contents if len(text) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, breakable))) if breakable else None
