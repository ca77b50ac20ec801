"""One question, one answer, for scripts and pipes.

Owns what stands on stdout: the answer and nothing else, or one JSON object.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import orjson

from services.cli.chat.rendering import Display
from services.cli.chat.source import Source
from shared.client import Answer
from shared.errors import LLMZooError


async def show_answer(
    source: Source, body: dict[str, Any], display: Display, *, stream: bool
) -> None:
    """Show the answer, as it comes or as a whole; raises what the source raises."""
    with display.answer() as view:
        if not stream:
            view.add((await source.complete(body)).text)
            return
        async with aclosing(source.stream(body)) as deltas:
            async for delta in deltas:
                if delta.reconnecting:
                    view.reconnecting()
                else:
                    view.add(delta.text)


async def answer_object(source: Source, body: dict[str, Any]) -> dict[str, object]:
    """Return the answer as one object for programs; raises what the source raises."""
    answer: Answer = await source.complete(body)
    return {
        "model": body["model"],
        "content": answer.text,
        "finish_reason": answer.finish_reason,
        "usage": answer.usage,
        "request_id": answer.request_id,
    }


def error_object(fault: LLMZooError) -> dict[str, object]:
    """Return a failure as one object for programs: OpenAI's, with the request's id."""
    body = fault.as_openai()
    body["request_id"] = getattr(fault, "request_id", "")
    return body


def as_json(content: object) -> str:
    """Return one line of JSON."""
    return orjson.dumps(content).decode()
