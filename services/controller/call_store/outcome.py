"""Answers as the call store keeps them, and what it tells of each.

Owns the two headers that a client reads. Knows no store.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

Headers = tuple[tuple[str, str], ...]

STORED_HEADER = "x-llmzoo-call-store"
REPLAYED_HEADER = "idempotency-replayed"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; `headers` are those to be repeated, `content-type` among them."""

    status: int
    body: bytes
    headers: Headers = (("content-type", "application/json"),)

    @property
    def failed(self) -> bool:
        """Return whether it tells of a failure, which is never stored."""
        return self.status >= HTTPStatus.BAD_REQUEST


class Source(StrEnum):
    """Where an answer came from."""

    FRESH = "fresh"
    """This request's own call."""
    JOINED = "joined"
    """A call that ran already, for another request of the same identity."""
    REPLAYED = "replayed"
    """A call that had ended before."""


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """An answer, where it came from, and whether a later request would get it again."""

    answer: Answer
    source: Source
    stored: bool

    def headers(self) -> Headers:
        """Return the headers that tell the client so."""
        told = ((STORED_HEADER, "stored" if self.stored else "unstored"),)
        return told if self.source is Source.FRESH else (*told, (REPLAYED_HEADER, "true"))


UNSTORED: Headers = ((STORED_HEADER, "unstored"),)
"""For an answer that was never to be stored, such as a stream's."""
