"""The conversation as the page shows it and as the API takes it.

Owns what is accepted from the page, and its bounds. The browser holds the conversation, so no
history stays in this process between two events; what comes back from it is checked here like
any input. Knows neither Gradio nor HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.errors import InvalidRequest
from shared.templates.formats import from_gradio
from shared.templates.messages import Message, Messages, to_openai

MAX_MESSAGE_CHARACTERS = 64_000
MAX_MESSAGES = 200
MAX_CONVERSATION_CHARACTERS = 400_000


def from_chatbot(value: object) -> Messages:
    """Read what the browser sent as the chat's value.

    Raises:
        InvalidRequest: it is no list of text messages of the two roles.
    """
    try:
        messages = from_gradio(value)
    except InvalidRequest as fault:
        raise _not_a_conversation() from fault
    if any(message.role not in {"user", "assistant"} for message in messages):
        raise _not_a_conversation()
    return messages


def to_api(system: str, messages: Sequence[Message]) -> list[dict[str, str]]:
    """Return `messages` of a chat request, the system prompt first if there is one."""
    head = [Message("system", system)] if system.strip() else []
    return to_openai([*head, *messages])


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


def _not_a_conversation() -> InvalidRequest:
    msg = "The page sent something that is no conversation. Reload it."
    return InvalidRequest(msg, param="messages")
