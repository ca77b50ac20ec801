"""A sample: what one request took, and what came of it.

Owns nothing but the numbers; who fills them in speaks to a server or to an engine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """How a request ended. A refusal for want of room is no fault, and never left out."""

    COMPLETED = "completed"
    REJECTED = "rejected"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class CountedBy(StrEnum):
    """Where a number of output tokens comes from, the surest first."""

    ENGINE = "engine"
    USAGE = "usage"
    MAX_TOKENS = "max_tokens"  # the server gives no usage, but says that the limit ended it
    PIECES = "pieces"  # neither: each piece with text counts as one token


@dataclass(slots=True)
class Sample:
    """One request; times in seconds on the clock of `time.perf_counter`."""

    started: float
    arrivals: list[float] = field(default_factory=list[float])
    """When each piece with tokens in it came."""
    ended: float = 0.0
    # Until somebody says otherwise: a request that Ctrl-C ended cannot say it any more.
    outcome: Outcome = Outcome.INTERRUPTED
    fault: str = ""
    prompt_tokens: int | None = None
    output_tokens: int = 0
    counted_by: CountedBy = CountedBy.PIECES

    def end(self, outcome: Outcome, now: float, fault: str = "") -> None:
        """Say how it ended."""
        self.outcome, self.ended, self.fault = outcome, now, fault
