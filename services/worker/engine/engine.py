"""The engine: one step at a time, from the scheduler's plan to tokens and finishes.

Owns when a sequence ends and that slots of scheduler and runner stay the same. Knows no
tensor: it receives the runner as a Protocol. Knows no thread and no asyncio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import structlog

from services.worker.engine.scheduler import Scheduler
from services.worker.engine.sequence import FinishReason, Sequence

log = structlog.get_logger(__name__)

# What torch and transformers raise for one bad input; anything else is a fault of the engine.
_PREFILL_FAULTS = (RuntimeError, ValueError, IndexError, ArithmeticError)


class Runner(Protocol):
    """The data plane: rows of KV cache in slots 0..n-1, one model, one sampler."""

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """Token ids that end a sequence."""
        ...

    def prefill(self, slot: int, sequence: Sequence) -> int:
        """Fill the slot (the first free one) and return the next token's id."""
        ...

    def decode(self, rows: int) -> list[int]:
        """Return the next token id of each of the slots 0..rows-1; negative: it has none."""
        ...

    def release(self, slot: int) -> None:
        """Free a slot; the row in the last slot moves into it."""
        ...

    def reset(self) -> None:
        """Free every slot."""
        ...


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What happened to one sequence: a new token, its finish, or both."""

    request_id: str
    choice: int
    token_id: int | None
    finish_reason: FinishReason | None


class Engine:
    """Runs steps for one model."""

    def __init__(self, runner: Runner, scheduler: Scheduler) -> None:
        """Take both over; nothing else may touch them."""
        self._runner = runner
        self.scheduler = scheduler
        self._aborts: list[str] = []
        # Kept here and not in `step`, so that a fault half-way loses no finish.
        self._outputs: list[StepOutput] = []

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return self.scheduler.has_work or bool(self._aborts)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence; raises what `Scheduler.check` raises."""
        self.scheduler.add(sequence)

    def abort(self, request_id: str) -> None:
        """End all choices of a request at the start of the next step; unknown is no fault."""
        self._aborts.append(request_id)

    def step(self) -> list[StepOutput]:
        """Decode one token for every running sequence, then prefill the newly admitted.

        A fault while one prompt is prefilled ends that sequence alone (finish reason error).

        Raises:
            Exception: whatever the runner raises otherwise; call `fail_running` then.
        """
        while self._aborts:
            for sequence in self.scheduler.find(self._aborts.pop()):
                self._finish(sequence, None, FinishReason.ABORT)
        plan = self.scheduler.schedule()
        rows = len(plan.decode)
        tokens: list[int | None] = []
        if rows:
            tokens += self._runner.decode(rows)
        tokens += [self._prefill(rows + i, s) for i, s in enumerate(plan.prefill)]
        # Finishes come last: they move rows, and the plan's slots must hold until here.
        for sequence, token in zip((*plan.decode, *plan.prefill), tokens, strict=True):
            self._accept(sequence, token)
        return self._take_outputs()

    def fail_running(self) -> list[StepOutput]:
        """End all running sequences with an error and empty the runner; the queue stays."""
        for sequence in list(self.scheduler.running):
            self.scheduler.finish(sequence, FinishReason.ERROR)
            self._outputs.append(StepOutput(*sequence.key, None, FinishReason.ERROR))
        self._runner.reset()
        return self._take_outputs()

    def _prefill(self, slot: int, sequence: Sequence) -> int | None:
        try:
            return self._runner.prefill(slot, sequence)
        except _PREFILL_FAULTS:
            log.exception("prefill_failed", request_id=sequence.request_id)
            return None

    def _accept(self, sequence: Sequence, token: int | None) -> None:
        if token is None or token < 0:
            self._finish(sequence, None, FinishReason.ERROR)
            return
        sequence.output_ids.append(token)
        reason = self._reason(sequence, token)
        if reason is None:
            self._outputs.append(StepOutput(*sequence.key, token, None))
        else:
            self._finish(sequence, token, reason)

    def _reason(self, sequence: Sequence, token: int) -> FinishReason | None:
        params = sequence.params
        if token in params.stop_token_ids:
            return FinishReason.STOP
        if not params.ignore_eos and token in self._runner.eos_token_ids:
            return FinishReason.STOP
        full = sequence.length >= self.scheduler.limits.max_model_len
        return FinishReason.LENGTH if full or sequence.remaining <= 0 else None

    def _finish(self, sequence: Sequence, token: int | None, reason: FinishReason) -> None:
        slot = self.scheduler.finish(sequence, reason)
        self._outputs.append(StepOutput(*sequence.key, token, reason))
        if slot is not None:
            self._runner.release(slot)

    def _take_outputs(self) -> list[StepOutput]:
        outputs, self._outputs = self._outputs, []
        return outputs
