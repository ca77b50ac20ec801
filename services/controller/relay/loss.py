"""Why a worker does not go on with an answer that it began.

Owns the causes, and which fault stands for which. What is done about it is the mover's.
"""

from __future__ import annotations

from enum import StrEnum

from shared.errors import (
    ContinuationDiffers,
    DeadlineExceeded,
    EngineFault,
    LLMZooError,
    TakenOver,
    Unavailable,
    UpstreamFailed,
    UpstreamTimeout,
)
from shared.protocol.frames import HANDED_BACK, ErrorFrame


class Cause(StrEnum):
    """What took an answer away from its worker."""

    CONNECTION = "connection"
    SILENCE = "silence"
    MALFORMED = "malformed"
    HANDED_BACK = "handed_back"
    ENGINE_FAULT = "engine_fault"
    DIFFERS = "differs"
    OPERATOR = "operator"


class MalformedFrames(UpstreamFailed):
    """What a worker sent is no frames, or not those that were due."""


class HandedBack(Unavailable):
    """A worker stops, and leaves the rest of an answer to others."""


class MoveAsked(Unavailable):
    """An operator wants the answer to go on elsewhere."""


_CAUSES: tuple[tuple[type[LLMZooError], Cause | None], ...] = (
    (DeadlineExceeded, None),
    (MoveAsked, Cause.OPERATOR),
    (HandedBack, Cause.HANDED_BACK),
    (ContinuationDiffers, Cause.DIFFERS),
    (EngineFault, Cause.ENGINE_FAULT),
    (MalformedFrames, Cause.MALFORMED),
    (UpstreamTimeout, Cause.SILENCE),
    (UpstreamFailed, Cause.CONNECTION),
)
"""The first that fits counts."""


def cause_of(fault: LLMZooError) -> Cause | None:
    """Return why the answer is to go on elsewhere; None: it is not."""
    return next((cause for kind, cause in _CAUSES if isinstance(fault, kind)), None)


_BLAMELESS = frozenset({None, Cause.OPERATOR, Cause.HANDED_BACK, Cause.DIFFERS})


def is_workers_fault(fault: LLMZooError) -> bool:
    """Return whether it speaks against the worker's health."""
    return cause_of(fault) not in _BLAMELESS


def frame_loss(frame: ErrorFrame) -> LLMZooError | None:
    """Return what an error frame means for an answer; None: it is the answer's own failure."""
    code, message = frame.error.get("code"), str(frame.error.get("message") or "")
    if code == HANDED_BACK:
        return HandedBack(message or "The worker stops.", retry_after=1.0)
    if code == EngineFault.default_code:
        return EngineFault(message or "The worker's engine failed.")
    if code == ContinuationDiffers.default_code:
        return ContinuationDiffers(message or "The continuation would be another answer.")
    if code == TakenOver.default_code:
        return TakenOver(message or "Another one reads this answer now.")
    return None
