"""A conversation as a file: the body of a `POST /v1/chat/completions`, so any client can send it.

Owns the file's form and its check. What a conversation is, `conversation` knows.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from services.cli.chat.conversation import Conversation, Message
from services.cli.chat.parameters import PARAMETERS, chosen
from shared.errors import InvalidRequest
from shared.protocol.body import parse_object
from shared.protocol.openai import ChatCompletionRequest, parse_chat

MAX_BYTES = 16 * 1024 * 1024
_KNOWN = {"model", "messages", "max_completion_tokens", *PARAMETERS}


class FileRefused(Exception):
    """A file that cannot be written or read as a conversation; the text names the fault."""


@dataclass(frozen=True, slots=True)
class SavedChat:
    """What a file holds."""

    model: str
    conversation: Conversation
    parameters: Mapping[str, object]

    def encode(self) -> bytes:
        """Return the file's content."""
        body = {
            "model": self.model,
            "messages": self.conversation.as_openai(),
            **self.parameters,
        }
        return orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def decode(cls, content: bytes) -> SavedChat:
        """Return what `encode` made, or any chat request's body without other parameters.

        Raises:
            FileRefused: names the first fault.
        """
        try:
            body = parse_object(content)
            request = parse_chat(body)
        except InvalidRequest as fault:
            raise FileRefused(fault.message) from None
        unknown = sorted(set(body) - _KNOWN)
        if unknown:
            msg = (
                f"'{unknown[0]}' is not a setting of this chat. There are: {', '.join(PARAMETERS)}."
            )
            raise FileRefused(msg)
        return cls(request.model, _conversation(request), chosen(request))


def write(path: Path, chat: SavedChat, *, overwrite: bool) -> None:
    """Write the file as a whole, readable by its owner alone.

    Raises:
        FileRefused: it exists and `overwrite` was not asked for, or it cannot be written.
    """
    if path.exists() and not overwrite:
        msg = f"{path} exists. To replace it: /save {path} overwrite"
        raise FileRefused(msg)
    try:
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".llmzoo-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(chat.encode())
            Path(draft).replace(path)
        except OSError:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as fault:
        msg = f"{path} cannot be written: {fault.strerror}."
        raise FileRefused(msg) from None


def read(path: Path) -> SavedChat:
    """Return the conversation in a file.

    Raises:
        FileRefused: names the fault.
    """
    try:
        # A pipe or a device has no end.
        if path.exists() and not path.is_file():
            msg = f"{path} is not a file."
            raise FileRefused(msg)
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as fault:
        msg = f"{path} cannot be read: {fault.strerror}."
        raise FileRefused(msg) from None
    if len(content) > MAX_BYTES:
        msg = f"{path} is larger than {MAX_BYTES} bytes."
        raise FileRefused(msg)
    try:
        return SavedChat.decode(content)
    except FileRefused as fault:
        msg = f"{path} is no saved chat: {fault}"
        raise FileRefused(msg) from None


def _conversation(request: ChatCompletionRequest) -> Conversation:
    messages = list(request.messages)
    system = messages.pop(0).text if messages[0].role in {"system", "developer"} else ""
    for index, message in enumerate(messages, start=len(request.messages) - len(messages)):
        if message.role not in {"user", "assistant"}:
            msg = f"messages[{index}]: only the first message can be a {message.role} message."
            raise FileRefused(msg)
    return Conversation(system, [Message(message.role, message.text) for message in messages])
