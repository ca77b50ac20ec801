"""A whole answer, and how it is sent. Owns neither its making nor its keeping."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus

from starlette.types import Send

Headers = tuple[tuple[str, str], ...]

JSON: Headers = (("content-type", "application/json"),)
EVENTS: Headers = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-store"),
    ("x-accel-buffering", "no"),
)
"""Of a stream, which no proxy may keep or hold back."""


@dataclass(slots=True)
class Answer:
    """A whole answer; `headers` are those to be repeated, `content-type` among them."""

    status: int
    body: bytes
    headers: Headers = JSON

    @property
    def failed(self) -> bool:
        """Return whether it tells of a failure, which is never stored."""
        return self.status >= HTTPStatus.BAD_REQUEST


def refusal(status: int, body: bytes, retry_after: str) -> Answer:
    """Return an answer that passes a refusal on; `retry_after` may be empty."""
    return Answer(status, body, (*JSON, ("retry-after", retry_after)) if retry_after else JSON)


async def send_answer(send: Send, answer: Answer, told: Headers = ()) -> None:
    """Send it over plain ASGI, with `told` among its headers."""
    headers = [
        *encoded(answer.headers),
        *encoded(told),
        (b"content-length", b"%d" % len(answer.body)),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


@lru_cache(maxsize=256)
def encoded(headers: Headers) -> tuple[tuple[bytes, bytes], ...]:
    """Return headers as ASGI takes them."""
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)
