"""Messages in OpenAI's bodies: texts, whichever of its forms they have; pictures are refused."""

from __future__ import annotations

from typing import Any, cast, get_args

from services.evaluator.specs.findings import Findings, child
from services.evaluator.specs.shapes import as_list, as_object
from shared.protocol.evals.base import MAX_TEXT
from shared.protocol.evals.spec import Message

_ROLES = get_args(Message.model_fields["role"].annotation)
_TEXTS = ("text", "input_text", "output_text")
_MOST = 128


def read_messages(value: object, findings: Findings, where: str) -> list[tuple[str, Message]]:
    """Return pointer and message of each that fits; a fault for each of the others."""
    found: list[tuple[str, Message]] = []
    for place, row in enumerate(as_list(value, findings, where, _MOST, least=1)):
        here = child(where, place)
        content = as_object(row, findings, here)
        if content is None:
            continue
        role: Any = content.get("role")
        text = _text(content.get("content"), findings, here)
        for name in content.keys() - {"role", "content", "type"}:
            findings.add(child(here, name), "is unknown")
        if content.get("type", "message") != "message":
            findings.add(child(here, "type"), "should be 'message'")
        if role not in _ROLES:
            findings.add(child(here, "role"), f"should be one of {', '.join(_ROLES)}")
        elif text is not None:
            found.append((child(here, "content"), Message(role=role, content=text)))
    return found


def _text(value: object, findings: Findings, where: str) -> str | None:
    """Return the text of a message's content: a text, a part, or a list of both."""
    at = child(where, "content")
    parts = cast("list[object]", value) if isinstance(value, list) else [value]
    texts = [_part(part) for part in parts]
    if not texts or any(text is None for text in texts):
        findings.add(at, "should be text; pictures, sound and files are not served")
        return None
    text = "\n".join(text for text in texts if text is not None)
    if len(text) > MAX_TEXT:
        findings.add(at, f"is longer than {MAX_TEXT} characters")
        return None
    return text


def _part(value: object) -> str | None:
    if isinstance(value, str):
        return value
    part: dict[str, Any] = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    text = part.get("text")
    return text if part.get("type") in _TEXTS and isinstance(text, str) else None
