"""The conversation as the page shows it and as the API takes it.

Owns messages, their bounds, and the one translation between Gradio's chat values and ours.
The browser holds the conversation, so no history stays in this process between two events;
what comes back from it is checked here like any input. Knows neither Gradio nor HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from shared.errors import InvalidRequest

Role = Literal["user", "assistant"]

MAX_MESSAGE_CHARACTERS = 64_000
MAX_MESSAGES = 200
MAX_CONVERSATION_CHARACTERS = 400_000


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of one side."""

    role: Role
    text: str


Messages = tuple[Message, ...]


def from_chatbot(value: object) -> Messages:
    """Read what the browser sent as the chat's value.

    Raises:
        InvalidRequest: it is no list of text messages of the two roles.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _not_a_conversation()
    return tuple(_read(entry) for entry in cast("list[object]", value))


def to_chatbot(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the chat's value. Text goes as a block: Gradio strips the indent of plain strings."""
    return [
        {"role": message.role, "content": [{"type": "text", "text": message.text}]}
        for message in messages
    ]


def to_api(system: str, messages: Sequence[Message]) -> list[dict[str, str]]:
    """Return `messages` of a chat request, the system prompt first if there is one."""
    head = [{"role": "system", "content": system}] if system.strip() else []
    return [*head, *({"role": message.role, "content": message.text} for message in messages)]


def with_question(messages: Messages, text: str) -> Messages:
    """Return the conversation with the user's next message.

    Raises:
        InvalidRequest: the message is blank or too long, or the conversation is full.
    """
    if not text.strip():
        msg = "The message is empty. Type something first."
        raise InvalidRequest(msg, param="messages")
    if len(text) > MAX_MESSAGE_CHARACTERS:
        msg = f"The message has {len(text):,} characters; at most {MAX_MESSAGE_CHARACTERS:,} fit."
        raise InvalidRequest(msg, param="messages")
    longer = (*messages, Message("user", text))
    length = sum(len(message.text) for message in longer)
    if len(longer) >= MAX_MESSAGES or length > MAX_CONVERSATION_CHARACTERS:
        msg = "This conversation is full. Clear it to start a new one."
        raise InvalidRequest(msg, param="messages")
    return longer


def up_to_last_question(messages: Messages) -> Messages:
    """Return the conversation without the answer to its last question.

    Raises:
        InvalidRequest: there is no question yet.
    """
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "user":
            return messages[: index + 1]
    msg = "There is no message to answer yet."
    raise InvalidRequest(msg, param="messages")


def _read(entry: object) -> Message:
    if not isinstance(entry, dict):
        raise _not_a_conversation()
    fields = cast("dict[str, object]", entry)
    role, content = fields.get("role"), fields.get("content")
    if role not in {"user", "assistant"}:
        raise _not_a_conversation()
    blocks: list[object] = cast("list[object]", content) if isinstance(content, list) else [content]
    return Message(cast("Role", role), "".join(_text(block) for block in blocks))


def _text(block: object) -> str:
    if isinstance(block, str):
        return block
    if isinstance(block, dict):
        text = cast("dict[str, object]", block).get("text")
        if isinstance(text, str):
            return text
    raise _not_a_conversation()


def _not_a_conversation() -> InvalidRequest:
    msg = "The page sent something that is no conversation. Reload it."
    return InvalidRequest(msg, param="messages")
