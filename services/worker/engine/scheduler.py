"""The scheduler: which sequences prefill and which decode in the next step.

Owns the waiting queue, the order of the running rows and the budget of KV-cache tokens.
Knows no tensor: a slot is a number here, and `slot == index in running` always holds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from services.worker.engine.sequence import FinishReason, Sequence, SequenceState
from shared.errors import ContextTooLong, InvalidRequest, Overloaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the scheduler may hand out; all counts are of sequences or tokens."""

    max_num_seqs: int
    max_waiting: int
    max_model_len: int
    kv_cache_tokens: int
    max_prefill_tokens: int = 2048


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step: `decode` holds slots 0..n-1 in order, `prefill` the slots right after them."""

    decode: tuple[Sequence, ...]
    prefill: tuple[Sequence, ...]


class Scheduler:
    """First come, first served; nobody overtakes the head of the queue."""

    def __init__(self, limits: Limits) -> None:
        """Start empty."""
        self.limits = limits
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self.running or self.waiting)

    @property
    def kv_tokens_used(self) -> int:
        """Tokens of KV cache that the running sequences reserve."""
        return self._footprint(self.running)

    @property
    def tokens_to_next_finish(self) -> int:
        """Steps after which a running sequence ends at the latest; 0 when none runs."""
        return min((sequence.remaining for sequence in self.running), default=0)

    def check(self, sequence: Sequence, outstanding: int) -> None:
        """Refuse what can never run, or not now with `outstanding` sequences unfinished.

        Raises:
            InvalidRequest: the prompt is empty.
            ContextTooLong: the prompt leaves no room for one token.
            Overloaded: every slot and every place in the queue is taken.
        """
        limits = self.limits
        if not sequence.prompt_ids:
            msg = "the prompt has no tokens"
            raise InvalidRequest(msg)
        if sequence.length >= limits.max_model_len:
            msg = (
                f"the prompt has {sequence.length} tokens; this model's context of "
                f"{limits.max_model_len} tokens must also hold the answer"
            )
            raise ContextTooLong(msg)
        if outstanding >= limits.max_num_seqs + limits.max_waiting:
            msg = f"{limits.max_num_seqs} sequences run and {limits.max_waiting} wait already"
            raise Overloaded(msg)

    def add(self, sequence: Sequence) -> None:
        """Put the sequence at the end of the queue; raises what `check` raises."""
        self.check(sequence, len(self.running) + len(self.waiting))
        self.waiting.append(sequence)

    def schedule(self) -> StepPlan:
        """Admit from the queue while slots, prefill tokens and KV tokens suffice.

        Every running sequence decodes in the same step. A prompt longer than
        `max_prefill_tokens` is still admitted, but as the only one of its step.
        """
        decode = tuple(self.running)
        prefill_tokens = 0
        while self.waiting and len(self.running) < self.limits.max_num_seqs:
            head = self.waiting[0]
            prefill_tokens += head.length
            first = len(self.running) == len(decode)
            if not first and prefill_tokens > self.limits.max_prefill_tokens:
                break
            if self._footprint([*self.running, head]) > self.limits.kv_cache_tokens:
                break
            self.waiting.popleft()
            self.running.append(head)
            head.state = SequenceState.RUNNING
        return StepPlan(decode, tuple(self.running[len(decode) :]))

    def finish(self, sequence: Sequence, reason: FinishReason) -> int | None:
        """End a sequence and return the slot it leaves, None if it had none.

        The sequence in the last slot moves into the hole, so that slots stay contiguous.
        """
        slot = None
        if sequence.state is SequenceState.RUNNING:
            slot = self.running.index(sequence)
            last = self.running.pop()
            if last is not sequence:
                self.running[slot] = last
        elif sequence.state is SequenceState.WAITING:
            self.waiting.remove(sequence)
        sequence.state = SequenceState.FINISHED
        sequence.finish_reason = reason
        return slot

    def find(self, request_id: str) -> list[Sequence]:
        """Return the unfinished sequences of a request."""
        return [s for s in (*self.running, *self.waiting) if s.request_id == request_id]

    def _footprint(self, sequences: list[Sequence]) -> int:
        # The cache is a rectangle: every row is as wide as the longest may become.
        longest = max((self._reserve(sequence) for sequence in sequences), default=0)
        return len(sequences) * longest

    def _reserve(self, sequence: Sequence) -> int:
        wanted = len(sequence.prompt_ids) + sequence.params.max_tokens
        return min(wanted, self.limits.max_model_len)
