"""The one interface between the worker and whatever generates: our own engine, or a server's.

Owns what the worker may ask of an engine. Whoever implements it takes token ids and gives token
ids, and knows no text and no HTTP; `services.worker.engine.loop.EngineLoop` is the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from services.worker.engine.engine import StepOutput
from services.worker.engine.sequence import Sequence


class EngineState(Enum):
    """Whether an engine generates."""

    STOPPED = "stopped"  # not started yet, or told to stop
    RUNNING = "running"
    RESTARTING = "restarting"  # a step failed; what ran pauses and goes on, as does what waits
    FAILED = "failed"  # for good: the process must be started again


@dataclass(frozen=True, slots=True)
class EngineHealth:
    """An engine's state, and the fault behind it where there is one."""

    state: EngineState
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """How busy the engine is and what it has room for; counters start at 0 with the engine."""

    running: int
    waiting: int
    max_num_seqs: int
    kv_tokens_held: int
    kv_tokens_used: int
    kv_tokens_total: int
    steps: int
    faults: int
    preemptions: int
    resumed: int
    prefix_queried_tokens: int
    prefix_reused_tokens: int
    drafted_tokens: int
    accepted_tokens: int
    tokens_generated: int
    tokens_per_second: float
    prefill_tokens_per_second: float
    last_step_age: float


class EngineClient(Protocol):
    """An engine as the worker sees it; called on the event loop, or anywhere where it says so."""

    @property
    def health(self) -> EngineHealth:
        """Whether it generates; from any thread."""
        ...

    def start(
        self, loop: asyncio.AbstractEventLoop, changed: Callable[[], None] = lambda: None
    ) -> None:
        """Begin; outputs arrive on `loop`, where `changed` is called when the health is another."""
        ...

    def submit(self, sequence: Sequence) -> AsyncIterator[StepOutput]:
        """Queue a sequence and return its outputs, the last of which has a finish reason.

        Raises:
            InvalidRequest: the prompt is empty, or the sequence is there already.
            ContextTooLong: the prompt leaves no room for one token.
            Overloaded: the queue is full; `retry_after` says when a place is free again.
            Unavailable: the engine is draining or has stopped.
        """
        ...

    def abort(self, request_id: str) -> None:
        """End all choices of a request before the next step; unknown or ended is no fault."""
        ...

    async def drain(self) -> None:
        """Take no more sequences and return once all have ended."""
        ...

    async def stop(self) -> None:
        """End all sequences after the current step, and the engine."""
        ...

    def last_step_age(self) -> float:
        """Seconds since the current step began, 0 when idle; from any thread."""
        ...

    def beginnings(self) -> list[int]:
        """Return the numbers of what is kept for reuse (`Sequence.beginning`), the newest last."""
        ...

    def stats(self) -> EngineStats:
        """Return the present state; from any thread."""
        ...
