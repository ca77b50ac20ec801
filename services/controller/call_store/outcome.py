"""What the call store tells of an answer.

Owns which headers a client gets, and which failures say that nothing was made. Knows no store.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from services.controller.relay.answer import Answer, Headers
from services.controller.upstream.pool import Unreachable
from shared.errors import AddressNotAllowed, EndpointRefusesKey, LLMZooError
from shared.protocol.stored_calls import REPLAYED_HEADER

STORED_HEADER = "x-llmzoo-call-store"


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


_REFUSALS = (EndpointRefusesKey, AddressNotAllowed, Unreachable)
_FIRST_FAILURE, _NOTHING_THERE = 500, 503


def surely_unmade(fault: LLMZooError) -> bool:
    """Return whether a call was refused; of one that failed nobody knows what was made of it."""
    refused = fault.status < _FIRST_FAILURE or fault.status == _NOTHING_THERE
    return refused or isinstance(fault, _REFUSALS)
