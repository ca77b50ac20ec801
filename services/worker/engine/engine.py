"""The engine: one step at a time, from the scheduler's plan to tokens and finishes.

Owns when a sequence ends and that rows of scheduler and runner stay the same. Knows no
tensor: it receives the runner as a Protocol. Knows no thread and no asyncio.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from services.worker.engine.scheduler import Chunk, Scheduler
from services.worker.engine.sequence import NO_TOKEN, Drawn, FinishReason, Sequence, TokenLogprobs
from services.worker.engine.slots import Group, RowOp


class Runner(Protocol):
    """The data plane: rows of KV cache, one model, one sampler."""

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """Token ids that end a sequence."""
        ...

    def apply(self, ops: Iterable[RowOp]) -> None:
        """Do to the rows what the operations say, in their order."""
        ...

    def run(
        self, groups: tuple[Group, ...], chunks: tuple[Chunk, ...]
    ) -> dict[Sequence, list[Drawn]]:
        """Compute the last token of every row of the groups and its draft, and the chunks.

        Return the next token of each sequence whose known tokens are all computed now, and as
        many more as tokens of its draft came true. A chunk that alone cannot be computed gives
        its sequence `NO_TOKEN`.
        """
        ...

    def release(self, sequence: Sequence) -> None:
        """Forget what is known about a sequence besides its row."""
        ...

    def reset(self) -> None:
        """Free every row, let go of all that was kept, and forget every sequence."""
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
    """Runs steps for one model; `prefilled_tokens` counts those of prompts, of all time."""

    def __init__(self, runner: Runner, scheduler: Scheduler) -> None:
        """Take both over; nothing else may touch them."""
        self._runner = runner
        self.scheduler = scheduler
        self.prefilled_tokens = 0
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
        """Compute a token or more of every running sequence, and chunks of prompts beside.

        A fault that one prompt brings ends that sequence alone (finish reason error).

        Raises:
            Exception: whatever the runner raises otherwise; call `fail_running` then.
        """
        while self._aborts:
            for sequence in self.scheduler.find(self._aborts.pop()):
                self._finish(sequence, FinishReason.ABORT)
        plan = self.scheduler.schedule()
        self.prefilled_tokens += sum(chunk.end - chunk.start for chunk in plan.chunks)
        self._runner.apply(plan.ops)
        if plan.groups or plan.chunks:
            drawn = self._runner.run(plan.groups, plan.chunks)
            # All of them before one leaves: the row that takes its place is as long as it is now.
            ends = {sequence: self._extend(sequence, drawn[sequence]) for sequence in drawn}
            for sequence, reason in ends.items():
                self._tell(sequence, drawn[sequence], reason)
        # Once each: in deterministic mode a step may have several chunks of one sequence.
        prompts = dict.fromkeys(chunk.sequence for chunk in plan.chunks)
        whole = [sequence for sequence in prompts if self.scheduler.is_whole(sequence)]
        self._runner.apply([op for sequence in whole for op in self.scheduler.join(sequence)])
        # What a chunk has reused may not go before here.
        self._runner.apply(self.scheduler.forgotten())
        return self._take_outputs()

    def fail_running(self) -> list[StepOutput]:
        """End all running sequences with an error and empty the runner; the queue stays."""
        for sequence in self.scheduler.running:
            self.scheduler.finish(sequence, FinishReason.ERROR)
            self._outputs.append(StepOutput(*sequence.key, None, FinishReason.ERROR))
        self.scheduler.prefixes.clear()
        self._runner.reset()
        return self._take_outputs()

    def _extend(self, sequence: Sequence, results: list[Drawn]) -> FinishReason | None:
        """Give a sequence its tokens, up to one that ends it; the others are taken from the list.

        Return why it ends, None if it does not.
        """
        self.scheduler.drafts.settle(sequence, len(results) - 1)
        computed = sequence.computed
        for at, drawn in enumerate(results):
            # The row holds each token that came before the next was drawn.
            sequence.computed = computed + at
            reason = self._take(sequence, drawn.token_id)
            if reason is not None:
                del results[at + 1 :]
                return reason
        return None

    def _take(self, sequence: Sequence, token_id: int) -> FinishReason | None:
        if token_id == NO_TOKEN:
            return FinishReason.ERROR
        sequence.output_ids.append(token_id)
        return sequence.ending(self._runner.eos_token_ids, self.scheduler.limits.max_model_len)

    def _tell(self, sequence: Sequence, results: list[Drawn], reason: FinishReason | None) -> None:
        certain = results if reason is None else results[:-1]
        self._outputs += [
            StepOutput(*sequence.key, drawn.token_id, None, drawn.logprobs) for drawn in certain
        ]
        if reason is not None:
            self._finish(sequence, reason, results[-1])

    def _finish(self, sequence: Sequence, reason: FinishReason, last: Drawn | None = None) -> None:
        ops = self.scheduler.finish(sequence, reason)
        output = StepOutput(*sequence.key, None, reason)
        if last is not None:
            token = None if last.token_id == NO_TOKEN else last.token_id
            output = StepOutput(*sequence.key, token, reason, last.logprobs, last.error)
        # Before the runner is asked: a fault there ends what runs, which this one no longer does.
        self._outputs.append(output)
        self._runner.apply(ops)
        self._runner.release(sequence)

    def _take_outputs(self) -> list[StepOutput]:
        outputs, self._outputs = self._outputs, []
        return outputs
