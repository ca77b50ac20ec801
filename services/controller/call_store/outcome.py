"""What the call store tells of an answer.

Owns the two headers that a client reads. Knows no store.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from services.controller.relay.answer import Answer, Headers

STORED_HEADER = "x-llmzoo-call-store"
REPLAYED_HEADER = "idempotency-replayed"


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
