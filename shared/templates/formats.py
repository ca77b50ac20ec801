"""Conversations as other programs keep them: Gradio's chat values and LLMZoo's log lines.

Owns both readings and both writings. OpenAI's messages are `messages`' own form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from shared.errors import InvalidRequest
from shared.templates.messages import Message, Messages, Role, read_content, read_message

ROLES = ("Human", "Assistant")
_PAIR = 2


def from_gradio(value: object) -> Messages:
    """Return the messages of a chatbot's value: message objects, or pairs of texts.

    A pair's None is a side that said nothing. Gradio's own fields beside role and content are
    left out.

    Raises:
        InvalidRequest: neither, or a message that is no text; `param` names the place.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidRequest("A chatbot's value is a list.", param="messages")
    messages: list[Message] = []
    for index, entry in enumerate(cast("list[object]", value)):
        place = f"messages[{index}]"
        if isinstance(entry, Mapping):
            messages.append(_entry(cast("Mapping[str, Any]", entry), place))
        elif isinstance(entry, list | tuple) and len(cast("Sequence[object]", entry)) == _PAIR:
            messages += _pair(cast("Sequence[object]", entry), place)
        else:
            raise InvalidRequest("Neither a message nor a pair of texts.", param=place)
    return tuple(messages)


def to_gradio(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Return a chatbot's value. Text goes as a block: Gradio strips the indent of plain strings."""
    return [
        {"role": message.role, "content": [{"type": "text", "text": message.text}]}
        for message in messages
    ]


def from_log_line(line: Mapping[str, Any]) -> Messages:
    """Return the conversation of a line of LLMZoo's log, or of its `state`.

    The first of the state's two roles is the user's. A last answer of None had not been written.

    Raises:
        InvalidRequest: it holds no conversation; `param` names the place.
    """
    state = line.get("state", line)
    if not isinstance(state, Mapping):
        raise InvalidRequest("The line has no state.", param="state")
    fields = cast("Mapping[str, Any]", state)
    roles = fields.get("roles", ROLES)
    if not _is_pair_of_texts(roles):
        raise InvalidRequest("The roles are two names.", param="state.roles")
    names: dict[str, Role] = {roles[0]: "user", roles[1]: "assistant"}
    system, entries = fields.get("system") or "", fields.get("messages")
    if not isinstance(system, str):
        raise InvalidRequest("The system text is no text.", param="state.system")
    if not isinstance(entries, list):
        raise InvalidRequest("The messages are no list.", param="state.messages")
    messages = [Message("system", system)] if system else []
    for index, entry in enumerate(cast("list[Any]", entries)):
        place = f"state.messages[{index}]"
        if not isinstance(entry, list | tuple) or len(cast("Sequence[Any]", entry)) != _PAIR:
            raise InvalidRequest("A message is a role and a text.", param=place)
        role, text = cast("Sequence[Any]", entry)
        if not isinstance(role, str) or role not in names:
            raise InvalidRequest(f"The role {role!r} is none of {roles}.", param=place)
        if text is None and (role != roles[1] or entry is not entries[-1]):
            raise InvalidRequest("The text was not logged.", param=place)
        if text is not None:
            messages.append(Message(names[role], read_content(text, place)))
    return tuple(messages)


def to_log_state(messages: Iterable[Message], roles: tuple[str, str] = ROLES) -> dict[str, Any]:
    """Return the `state` of a log line.

    Raises:
        InvalidRequest: a tool's message, or a system message after another one: a state has no
            place for them.
    """
    names = {"user": roles[0], "assistant": roles[1]}
    system, entries = "", list[list[str]]()
    for index, message in enumerate(messages):
        if message.role == "system" and index == 0:
            system = message.text
        elif message.role in names:
            entries.append([names[message.role], message.text])
        else:
            text = f"A log line has no place for this {message.role} message."
            raise InvalidRequest(text, param=f"messages[{index}].role")
    return {"system": system, "roles": list(roles), "messages": entries, "offset": 0, "sep": "</s>"}


def _entry(entry: Mapping[str, Any], place: str) -> Message:
    content: object = entry.get("content")
    if isinstance(content, Mapping):
        content = [cast("object", content)]
    return read_message({"role": entry.get("role"), "content": content}, place)


def _pair(entry: Sequence[object], place: str) -> list[Message]:
    user, assistant = entry
    said = [("user", user), ("assistant", assistant)]
    return [
        Message(cast("Role", role), read_content(text, place))
        for role, text in said
        if text is not None
    ]


def _is_pair_of_texts(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(cast("Sequence[Any]", value)) == _PAIR
        and all(isinstance(each, str) for each in cast("Sequence[Any]", value))
    )
