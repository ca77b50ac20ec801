"""Messages and prompts to token ids, with the model's chat template and tokenizer.

In a conversation, what a user writes is text: a special token spelled out in a message is
encoded letter by letter and ends no turn. In a plain prompt it is the special token, since
there the caller writes the template. Owns rendering and encoding. Knows no limits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol, cast

from tokenizers import Tokenizer

from services.worker.control_tokens import ControlTokens
from shared.errors import InvalidRequest
from shared.protocol.openai import Message as RequestMessage
from shared.templates import ChatTemplate, Message

# Above this, encoding would be felt by the other requests on the event loop.
_LONG_TEXT = 2048


class ChatTokenizer(Protocol):
    """What is needed of a transformers tokenizer."""

    @property
    def bos_token_id(self) -> Any:
        """The id of the token that begins a text, if there is one."""
        ...

    @property
    def backend_tokenizer(self) -> Tokenizer:
        """The tokenizer itself."""
        ...


class PromptEncoder:
    """Makes token ids of whatever a request brings."""

    def __init__(
        self, tokenizer: ChatTokenizer, template: ChatTemplate | None, why_none: str = ""
    ) -> None:
        """Take the tokenizer over; truncation and padding that came with it are turned off.

        Args:
            tokenizer: of the model.
            template: of the model; None: it takes no conversations, for the reason `why_none`.
            why_none: a sentence that says what to do.
        """
        self._backend = tokenizer.backend_tokenizer
        cast("Any", self._backend).no_truncation()
        cast("Any", self._backend).no_padding()
        self._bos: int | None = tokenizer.bos_token_id
        self._control_tokens = ControlTokens(self._backend)
        self._template = template
        self._why_none = why_none

    async def encode_chat(
        self,
        messages: Sequence[RequestMessage],
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> tuple[int, ...]:
        """Return the ids of a conversation, as a rule up to where the answer begins.

        Raises:
            InvalidRequest: the model has no template, or the template refuses the messages.
        """
        if self._template is None:
            msg = f"This model has no chat template; use /v1/completions. {self._why_none}".strip()
            raise InvalidRequest(msg, param="messages", code="no_chat_template")
        turns = tuple(map(_turn, messages))
        options = {
            "add_generation_prompt": add_generation_prompt,
            "continue_final_message": continue_final_message,
        }
        if sum(len(turn.text) for turn in turns) > _LONG_TEXT:
            return await asyncio.to_thread(self._encode_turns, self._template, turns, options)
        return self._encode_turns(self._template, turns, options)

    async def encode_text(self, prompt: str) -> tuple[int, ...]:
        """Return the ids of a plain prompt; an empty one is the model's first token.

        Raises:
            InvalidRequest: there are no ids for it.
        """
        ids = await self.tokenize(prompt)
        if not ids and self._bos is not None:
            ids = [self._bos]
        if not ids:
            raise InvalidRequest("The prompt is empty.", param="prompt")
        return tuple(ids)

    async def tokenize(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the ids of a text, none for an empty one unless the tokenizer begins with some."""
        if len(text) > _LONG_TEXT:
            return await asyncio.to_thread(self._encode, text, special=add_special_tokens)
        return self._encode(text, special=add_special_tokens)

    async def detokenize(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens included."""
        if len(ids) > _LONG_TEXT:
            return await asyncio.to_thread(self.decode, ids)
        return self.decode(ids)

    def token_strs(self, ids: Sequence[int]) -> list[str]:
        """Return each token as it stands in the vocabulary; empty for an id that has none."""
        return [self._backend.id_to_token(token_id) or "" for token_id in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of a plain prompt that came as ids, special tokens included."""
        return self._backend.decode(ids, skip_special_tokens=False)

    def _encode_turns(
        self, template: ChatTemplate, turns: tuple[Message, ...], options: dict[str, bool]
    ) -> tuple[int, ...]:
        ids = self._control_tokens.encode(template.render(turns, **options))
        if not template.writes_bos:
            first = self._first_tokens()
            if ids[: len(first)] != first:
                ids = first + ids
        if not ids:
            raise InvalidRequest("The messages give an empty prompt.", param="messages")
        return tuple(ids)

    def _first_tokens(self) -> list[int]:
        """Return what the tokenizer puts before any text."""
        ids = self._encode("")
        return ids[:1] if ids[:1] == [self._bos] else []

    def _encode(self, text: str, *, special: bool = True) -> list[int]:
        # The backend itself: transformers' wrapper changes its state, which threads may not.
        return self._backend.encode(text, add_special_tokens=special).ids


def _turn(message: RequestMessage) -> Message:
    # OpenAI renamed the role; templates know the old name.
    return Message("system" if message.role == "developer" else message.role, message.text)
