"""The engine: one step at a time, from the scheduler's plan to tokens and finishes.

Owns when a sequence ends and that slots of scheduler and runner stay the same. Knows no
tensor: it receives the runner as a Protocol. Knows no thread and no asyncio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import structlog

from services.worker.engine.out_of_memory import OUT_OF_MEMORY, is_out_of_memory
from services.worker.engine.prefix_index import Keep
from services.worker.engine.scheduler import Chunk, Scheduler, Vacancy
from services.worker.engine.sequence import NO_TOKEN, FinishReason, Sequence, TokenLogprobs

log = structlog.get_logger(__name__)

# What torch and transformers raise for one bad input; anything else is a fault of the engine.
_PREFILL_FAULTS = (RuntimeError, ValueError, IndexError, ArithmeticError)


class Runner(Protocol):
    """The data plane: rows of KV cache in slots 0..n-1, one model, one sampler."""

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """Token ids that end a sequence."""
        ...

    def prefill(self, slot: int, chunk: Chunk) -> int | None:
        """Add a chunk to a slot, the first free one if it is the sequence's first.

        Return the next token's id after the sequence's last chunk, None before; negative: it has
        none.
        """
        ...

    def decode(self, rows: int) -> list[int]:
        """Return the next token id of each of the slots 0..rows-1; negative: it has none."""
        ...

    def logprobs(self, slot: int) -> TokenLogprobs | None:
        """Return the logprobs of the token that the slot got last; None: it asked for none."""
        ...

    def move(self, source: int, target: int) -> None:
        """Copy a slot into another one."""
        ...

    def release(self) -> None:
        """Free the last slot."""
        ...

    def keep(self, keep: Keep) -> None:
        """Keep the beginning of a slot for sequences that reuse it."""
        ...

    def forget(self, key: int) -> None:
        """Let go of what was kept."""
        ...

    def reset(self) -> None:
        """Free every slot and let go of all that was kept."""
        ...


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What happened to one sequence: a new token, its finish, or both.

    `error` is what a caller may be told of a finish that is an error, as far as that is known.
    """

    request_id: str
    choice: int
    token_id: int | None
    finish_reason: FinishReason | None
    logprobs: TokenLogprobs | None = None
    error: str = ""


class Engine:
    """Runs steps for one model."""

    def __init__(self, runner: Runner, scheduler: Scheduler) -> None:
        """Take both over; nothing else may touch them."""
        self._runner = runner
        self.scheduler = scheduler
        self._aborts: list[str] = []
        # Kept here and not in `step`, so that a fault half-way loses no finish.
        self._outputs: list[StepOutput] = []
        self._errors: dict[tuple[str, int], str] = {}

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
        for vacancy in plan.vacancies:
            self._vacate(vacancy)
        rows = len(plan.decode)
        tokens = self._runner.decode(rows) if rows else []
        results = [self._prefill(rows + i, chunk) for i, chunk in enumerate(plan.prefill)]
        sequences = (*plan.decode, *(chunk.sequence for chunk in plan.prefill))
        logprobs = [
            None if sequence.params.logprobs is None else self._runner.logprobs(slot)
            for slot, sequence in enumerate(sequences)
        ]
        # Finishes come last: they move rows, and the plan's slots must hold until here.
        for sequence, token, told in zip(plan.decode, tokens, logprobs[:rows], strict=True):
            self._accept(sequence, token, told)
        for chunk, token, told in zip(plan.prefill, results, logprobs[rows:], strict=True):
            if chunk.is_last or token is not None:
                self._accept(chunk.sequence, NO_TOKEN if token is None else token, told)
        # Nor may what a chunk has reused go before here.
        for key in self.scheduler.prefixes.take_forgotten():
            self._runner.forget(key)
        return self._take_outputs()

    def fail_running(self) -> list[StepOutput]:
        """End all running sequences with an error and empty the runner; the queue stays."""
        for sequence in list(self.scheduler.running):
            self.scheduler.finish(sequence, FinishReason.ERROR)
            self._outputs.append(StepOutput(*sequence.key, None, FinishReason.ERROR))
        self.scheduler.prefixes.clear()
        self._runner.reset()
        return self._take_outputs()

    def _prefill(self, slot: int, chunk: Chunk) -> int | None:
        try:
            token = self._runner.prefill(slot, chunk)
        except _PREFILL_FAULTS as fault:
            log.exception("prefill_failed", request_id=chunk.sequence.request_id)
            if is_out_of_memory(fault):
                self._errors[chunk.sequence.key] = OUT_OF_MEMORY
            return NO_TOKEN
        if token is not None and token >= 0 and (keep := self.scheduler.keep(chunk.sequence)):
            self._runner.keep(keep)
        return token

    def _accept(self, sequence: Sequence, token: int, logprobs: TokenLogprobs | None) -> None:
        if token < 0:
            self._finish(sequence, None, FinishReason.ERROR)
            return
        sequence.output_ids.append(token)
        reason = self._reason(sequence, token)
        if reason is None:
            self._outputs.append(StepOutput(*sequence.key, token, None, logprobs))
        else:
            self._finish(sequence, token, reason, logprobs)

    def _reason(self, sequence: Sequence, token: int) -> FinishReason | None:
        params = sequence.params
        if token in params.stop_token_ids:
            return FinishReason.STOP
        if not params.ignore_eos and token in self._runner.eos_token_ids:
            return FinishReason.STOP
        full = sequence.length >= self.scheduler.limits.max_model_len
        return FinishReason.LENGTH if full or sequence.remaining <= 0 else None

    def _finish(
        self,
        sequence: Sequence,
        token: int | None,
        reason: FinishReason,
        logprobs: TokenLogprobs | None = None,
    ) -> None:
        vacancy = self.scheduler.finish(sequence, reason)
        error = self._errors.pop(sequence.key, "")
        self._outputs.append(StepOutput(*sequence.key, token, reason, logprobs, error))
        if vacancy is not None:
            self._vacate(vacancy)

    def _vacate(self, vacancy: Vacancy) -> None:
        if vacancy.keep is not None:
            self._runner.keep(vacancy.keep)
        for source, target in vacancy.moves:
            self._runner.move(source, target)
        self._runner.release()

    def _take_outputs(self) -> list[StepOutput]:
        outputs, self._outputs = self._outputs, []
        return outputs
