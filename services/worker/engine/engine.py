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
        # Kept here and not in `step`, so that a fault half-way loses no token and no finish.
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
            Exception: whatever the runner raises otherwise; call `recall` then.
        """
        self._end_aborted()
        plan = self.scheduler.schedule()
        self.prefilled_tokens += sum(chunk.end - chunk.start for chunk in plan.chunks)
        self._runner.apply(plan.ops)
        if plan.groups or plan.chunks:
            self._take_in(self._runner.run(plan.groups, plan.chunks))
        # Once each: in deterministic mode a step may have several chunks of one sequence.
        prompts = dict.fromkeys(chunk.sequence for chunk in plan.chunks)
        whole = [sequence for sequence in prompts if self.scheduler.is_whole(sequence)]
        self._runner.apply([op for sequence in whole for op in self.scheduler.join(sequence)])
        # What a chunk has reused may not go before here.
        self._runner.apply(self.scheduler.forgotten())
        return self._take_outputs()

    def recall(self) -> list[StepOutput]:
        """After a failed step, let what ran wait to be resumed, with its tokens; empty the runner.

        Return what was not told yet, and the end of those that are to blame.
        """
        blamed = self.scheduler.recall()
        self._outputs += [StepOutput(*each.key, None, FinishReason.ERROR) for each in blamed]
        self._runner.reset()
        return self._take_outputs()

    def _end_aborted(self) -> None:
        requests, self._aborts = self._aborts, []
        aborted = [s for request_id in requests for s in self.scheduler.find(request_id)]
        ends = dict.fromkeys(aborted, FinishReason.ABORT)
        self._outputs += [StepOutput(*each.key, None, reason) for each, reason in ends.items()]
        self._finish(ends)

    def _take_in(self, drawn: dict[Sequence, list[Drawn]]) -> None:
        """Give sequences what was drawn, tell it, and end those that end with it."""
        ends: dict[Sequence, FinishReason] = {}
        for sequence, results in drawn.items():
            reason = self._extend(sequence, results)
            self._tell(sequence, results, reason)
            if reason is not None:
                ends[sequence] = reason
        # After all of them: the row that takes one's place is as long as it is now.
        self._finish(ends)

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
        for at, drawn in enumerate(results, start=1):
            token = None if drawn.token_id == NO_TOKEN else drawn.token_id
            end = reason if at == len(results) else None
            self._outputs.append(StepOutput(*sequence.key, token, end, drawn.logprobs, drawn.error))

    def _finish(self, ends: dict[Sequence, FinishReason]) -> None:
        """Let sequences go whose end is told: all before the runner is asked, which may fail."""
        if not ends:
            return
        leaving = [self.scheduler.finish(sequence, reason) for sequence, reason in ends.items()]
        self._runner.apply([op for ops in leaving for op in ops])
        for sequence in ends:
            self._runner.release(sequence)

    def _take_outputs(self) -> list[StepOutput]:
        outputs, self._outputs = self._outputs, []
        return outputs
