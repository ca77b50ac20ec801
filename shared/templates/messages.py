"""The messages of a conversation, as every chat template takes them.

Owns one plain type and the reading of OpenAI's message objects into it. Which roles a template
has a form for, the template knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from shared.errors import InvalidRequest, UnsupportedParameter

Role = Literal["system", "user", "assistant", "tool"]

# OpenAI renamed the system role; templates know the old name.
_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


@dataclass(frozen=True, slots=True)
class Message:
    """What one side said; the text may be empty."""

    role: Role
    text: str


Messages = tuple[Message, ...]


def read_messages(messages: Iterable[Message | Mapping[str, Any]]) -> Messages:
    """Return OpenAI's message objects, or messages as they are, as one tuple.

    The text parts of a content list are joined without anything between them.

    Raises:
        InvalidRequest: an unknown role, or a content that is no text; `param` names the place.
        UnsupportedParameter: a part that is no text, or tool calls.
    """
    return tuple(
        message if isinstance(message, Message) else read_message(message, f"messages[{index}]")
        for index, message in enumerate(messages)
    )


def to_openai(messages: Iterable[Message]) -> list[dict[str, str]]:
    """Return OpenAI's message objects."""
    return [{"role": message.role, "content": message.text} for message in messages]


def read_message(message: Mapping[str, Any], place: str) -> Message:
    """Return one of OpenAI's message objects, which stands at `place`; raises as its plural."""
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        known = ", ".join(_ROLES)
        raise InvalidRequest(f"The role {role!r} is none of {known}.", param=f"{place}.role")
    if message.get("tool_calls"):
        raise UnsupportedParameter("Tool calls have no form here.", param=f"{place}.tool_calls")
    return Message(_ROLES[role], read_content(message.get("content"), f"{place}.content"))


def read_content(content: object, place: str) -> str:
    """Return a message's content, a string or a list of text parts, as one string.

    Raises:
        InvalidRequest: it is neither. UnsupportedParameter: a part is no text.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidRequest("The content is neither a string nor a list of parts.", param=place)
    parts = cast("list[object]", content)
    return "".join(_read_part(part, f"{place}[{index}]") for index, part in enumerate(parts))


def _read_part(part: object, place: str) -> str:
    if isinstance(part, str):
        return part
    fields: Mapping[str, object] = {}
    if isinstance(part, Mapping):
        fields = cast("Mapping[str, object]", part)
    kind, text = fields.get("type", "text"), fields.get("text")
    if kind != "text":
        raise UnsupportedParameter(f"A part of type {kind!r} is no text.", param=place)
    if not isinstance(text, str):
        raise InvalidRequest("A text part has no text.", param=place)
    return text
