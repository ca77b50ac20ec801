"""A sequence: one choice of one request, from its prompt's token ids to its finish.

Owns what is known about a sequence while it lives. Knows no text, no tensor and no policy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum


class FinishReason(StrEnum):
    """Why a sequence ended."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"
    ERROR = "error"


class SequenceState(Enum):
    """Where a sequence is: in the queue, in a slot, or gone."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How tokens are drawn and when to stop; `temperature` 0 is greedy, `max_tokens` >= 1."""

    max_tokens: int
    seed: int
    temperature: float = 1.0
    top_p: float = 1.0
    ignore_eos: bool = False
    stop_token_ids: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class Sequence:
    """One choice of one request; `choice` counts from 0 within the request."""

    request_id: str
    choice: int
    prompt_ids: tuple[int, ...]
    params: SamplingParams
    output_ids: list[int] = field(default_factory=list[int])
    state: SequenceState = SequenceState.WAITING
    finish_reason: FinishReason | None = None

    @property
    def key(self) -> tuple[str, int]:
        """What names the sequence within a worker: request id and choice."""
        return self.request_id, self.choice

    @property
    def length(self) -> int:
        """Tokens of prompt and output together."""
        return len(self.prompt_ids) + len(self.output_ids)

    @property
    def remaining(self) -> int:
        """The most tokens that it may still generate."""
        return self.params.max_tokens - len(self.output_ids)
