"""The requests `/tokenize` and `/detokenize`, as vLLM has them.

Owns what is a valid request. Names and defaults are vLLM's.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError

from shared.protocol.openai import Message, Text, refuse_unserved_roles
from shared.protocol.validation import Strict, as_invalid_request


class TokenizePrompt(Strict):
    """Body of `POST /tokenize` for a plain text."""

    prompt: str
    model: Text | None = None
    add_special_tokens: bool = True
    return_token_strs: bool | None = None


class TokenizeChat(Strict):
    """Body of `POST /tokenize` for a conversation, which the chat template renders."""

    messages: Annotated[list[Message], Field(min_length=1)]
    model: Text | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    return_token_strs: bool | None = None


class Detokenize(Strict):
    """Body of `POST /detokenize`."""

    tokens: list[Annotated[int, Field(ge=0, lt=2**31)]]
    model: Text | None = None


Request = TypeVar("Request", bound=Strict)


def parse_tokenize(body: dict[str, Any]) -> TokenizePrompt | TokenizeChat:
    """Return the validated request, that of a conversation where it has messages.

    Raises:
        InvalidRequest: names the first field that is missing, mistyped or unknown.
    """
    if "messages" not in body:
        return _parse(TokenizePrompt, body)
    refuse_unserved_roles(body)
    return _parse(TokenizeChat, body)


def parse_detokenize(body: dict[str, Any]) -> Detokenize:
    """Return the validated request; raises as `parse_tokenize`."""
    return _parse(Detokenize, body)


def _parse(shape: type[Request], body: dict[str, Any]) -> Request:
    try:
        return shape.model_validate(body)
    except ValidationError as fault:
        raise as_invalid_request(fault) from None
