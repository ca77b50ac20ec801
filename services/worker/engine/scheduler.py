"""The scheduler: which sequences prefill and which decode in the next step.

Owns the queues, admission, preemption, and the budgets of tokens of a step and of the KV cache.
Knows no tensor: what is to happen to rows of the cache it says in operations (`slots`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from services.worker.engine.drafts import PromptLookup
from services.worker.engine.prefix_index import BLOCK, Prefix, PrefixIndex
from services.worker.engine.quarantine import Quarantine
from services.worker.engine.sequence import FinishReason, Sequence, SequenceState
from services.worker.engine.slots import Drop, Forget, Group, Join, Keep, RowOp, Slots
from shared.errors import ContextTooLong, InvalidRequest, Overloaded
from shared.protocol.priority import Priority

# Part of the KV cache that admission leaves free, so that what runs can grow for a while.
_WATERMARK = 0.01
# Part of a step's tokens that drafts may be, so that prompts move on beside them.
_DRAFT_SHARE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the scheduler may hand out; all counts are of sequences or tokens.

    `max_num_batched_tokens` bounds a step, so that a long prompt stalls nobody for longer.
    `draft_tokens` may be tried for a sequence in one step, beside the one that is sure to come.
    `prefix_cache_tokens` is the part of the KV cache that prefixes may take while it is free.
    `chunk_tokens`, if not 0, ends chunks of prompts at its multiples alone, lets prefixes be reused
    up to those alone, and has known outputs decoded again one by one: what a sequence computes
    then never depends on the others (deterministic mode).
    """

    max_num_seqs: int
    max_waiting: int
    max_model_len: int
    kv_cache_tokens: int
    max_num_batched_tokens: int = 2048
    draft_tokens: int = 0
    prefix_cache_tokens: int = 0
    chunk_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens `start` to `end` of a sequence, to be prefilled in one step.

    `room` is what its row must hold, `reuse` what that begins with; else it begins empty, at 0.
    """

    sequence: Sequence
    start: int
    end: int
    room: int
    reuse: Prefix | None = None


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step: first what happens to rows, then one forward pass.

    Attributes:
        ops: in this order.
        groups: the rows that take a token each, and their drafts.
        chunks: of prompts; each sequence has a row of its own until its prompt is whole.
    """

    ops: tuple[RowOp, ...]
    groups: tuple[Group, ...]
    chunks: tuple[Chunk, ...]


class Scheduler:
    """Interactive before batch, and within each first come, first served: nobody overtakes.

    Memory is handed out as tokens come. Where it does not suffice, the sequence admitted last, a
    batch one first, goes back to the head of its queue and is computed again later, as batch
    sequences do when an interactive one waits that needs their place. While there is a quarantine
    its first sequence runs alone, and all others wait.
    """

    def __init__(self, limits: Limits) -> None:
        """Start empty."""
        self.limits = limits
        total = limits.kv_cache_tokens
        # Where all sequences can be as long as any may be, none will ever lack memory to grow.
        enough = total >= limits.max_num_seqs * limits.max_model_len
        self._watermark = 0 if enough else int(total * _WATERMARK)
        self.preemptions = 0
        self.resumed = 0
        self.prefixes = PrefixIndex(limits.prefix_cache_tokens)
        self.drafts = PromptLookup(limits.draft_tokens)
        self.slots = Slots(limits.max_model_len)
        self.quarantine = Quarantine()
        self._queues: dict[Priority, deque[Sequence]] = {each: deque() for each in Priority}
        # In the order of admission. Staged: those not in a class yet, with the tokens that are to
        # be prefilled: all that were known when they were admitted, or their prompt's alone.
        self._decoding: list[Sequence] = []
        self._staged: dict[Sequence, int] = {}

    @property
    def running(self) -> list[Sequence]:
        """The sequences that hold rows, in the order in which they were admitted."""
        return [*self._decoding, *self._staged]

    @property
    def waiting(self) -> list[Sequence]:
        """The sequences without a row, in the order in which they will get one."""
        return [sequence for queue in self._queues.values() for sequence in queue]

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._decoding or self._staged) or any(self._queues.values())

    @property
    def kv_tokens_used(self) -> int:
        """Tokens of KV cache that are allocated to running sequences; from any thread."""
        # Copied in one go: the engine's thread may be stepping while others ask.
        return self.slots.allocated_tokens + sum(map(self._room, tuple(self._staged)))

    @property
    def kv_tokens_held(self) -> int:
        """Tokens whose keys and values the running sequences hold; from any thread."""
        return sum(sequence.computed for sequence in self.running)

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
        """Put the sequence at the end of its queue; raises what `check` raises."""
        ahead = [s for s in (*self.running, *self.waiting) if s.priority <= sequence.priority]
        self.check(sequence, len(ahead))
        self._queues[sequence.priority].append(sequence)

    def isolate(self, sequence: Sequence) -> None:
        """Queue a sequence, whatever waits, and let it run alone and before all others."""
        self._queues[sequence.priority].appendleft(sequence)
        self.quarantine.isolate(sequence)

    def recall(self) -> list[Sequence]:
        """After a failed step, let what runs wait again, first and in its order, to be resumed.

        Its tokens stay; nothing that a row has held is used again, and all rows are free. Return
        those that have ended instead, with an error, since they are to blame.
        """
        running = self.running
        for sequence in reversed(running):
            self.drafts.release(sequence)
            self._put_back(sequence, keep=False)
        self.prefixes.clear()
        blamed = self.quarantine.judge(running)
        for sequence in blamed:
            self.finish(sequence, FinishReason.ERROR)
        self.resumed += len(running) - len(blamed)
        return blamed

    def schedule(self) -> StepPlan:
        """Plan a step: every running row decodes, and prompts fill up the budget of tokens.

        A step that decodes takes some of a prompt too, so that prompts move on. While nothing but
        batch sequences decodes they let prompts of interactive ones go first, in steps of their
        own, which are shorter.
        """
        ops = [*self._part_cleared(), *self._make_way()]
        if self._batch_yields():
            budget = self.limits.max_num_batched_tokens
            chunks = tuple(self._chunks(budget, Priority.INTERACTIVE))
            return StepPlan(tuple(ops), (), chunks)
        ops += self._grow()
        budget = self.limits.max_num_batched_tokens - self._decode()
        return StepPlan(tuple(ops), self.slots.groups(), tuple(self._chunks(max(1, budget))))

    def join(self, sequence: Sequence) -> list[RowOp]:
        """Let a sequence decode whose prompt is whole."""
        del self._staged[sequence]
        place = self.slots.take(sequence, sequence.computed + 1)
        self._decoding.append(sequence)
        return [Join(sequence.key, place, sequence.computed, self._keep(sequence))]

    def is_whole(self, sequence: Sequence) -> bool:
        """Whether a sequence's prompt is whole and its row not in its class yet."""
        whole = self._staged.get(sequence)
        return whole is not None and sequence.computed >= whole

    def finish(self, sequence: Sequence, reason: FinishReason) -> list[RowOp]:
        """End a sequence and return what happens to its row."""
        ops: list[RowOp] = []
        if sequence.state is SequenceState.RUNNING:
            ops = self._leave(sequence, keep=reason is not FinishReason.ERROR)
        elif sequence.state is SequenceState.WAITING:
            self._queues[sequence.priority].remove(sequence)
        self.drafts.release(sequence)
        self.quarantine.release(sequence)
        sequence.state = SequenceState.FINISHED
        sequence.finish_reason = reason
        return ops

    def forgotten(self) -> list[RowOp]:
        """Return what frees the prefixes that are not kept any more, once."""
        return [Forget(key) for key in self.prefixes.take_forgotten()]

    def find(self, request_id: str) -> list[Sequence]:
        """Return the unfinished sequences of a request."""
        return [s for s in (*self.running, *self.waiting) if s.request_id == request_id]

    def _part_cleared(self) -> list[RowOp]:
        """Let who has run alone for long enough wait for the others who have to, if there are."""
        cleared = self.quarantine.take_cleared()
        if cleared is None or not self.quarantine:
            return []
        return self._put_back(cleared, keep=True)

    def _make_way(self) -> Iterator[RowOp]:
        """Take rows from batch sequences while an interactive one waits that needs them."""
        queue = self._queues[Priority.INTERACTIVE]
        while queue and not self.quarantine and (victim := self._victim_of(queue[0])):
            yield from self._preempt(victim)

    def _victim_of(self, waiting: Sequence) -> Sequence | None:
        """Return the batch sequence that stands in the way, None if none does or none would do."""
        batch = [s for s in self.running if s.priority is Priority.BATCH]
        if not batch or not self._fits(waiting, without=batch):
            return None
        partial = self._partial
        if partial is not None and partial.priority is Priority.BATCH:
            return partial
        return None if self._fits(waiting) else batch[-1]

    def _batch_yields(self) -> bool:
        """Whether batch sequences alone decode, and a prompt of an interactive one can go on."""
        interactive = any(s.priority is Priority.INTERACTIVE for s in self._decoding)
        if self.quarantine or not self._decoding or interactive:
            return False
        if self._partial is not None:
            return self._partial.priority is Priority.INTERACTIVE
        queue = self._queues[Priority.INTERACTIVE]
        return bool(queue) and self._fits(queue[0])

    def _grow(self) -> Iterator[RowOp]:
        """Give every row that is full a larger one, memory to the first admitted first."""
        growing: dict[Sequence, int] = {}
        for sequence in tuple(self._decoding):
            if sequence.state is not SequenceState.RUNNING:
                continue
            growth = self.slots.growth(sequence, sequence.computed + 1)
            if not growth:
                continue
            growing[sequence] = growth
            while sequence in growing and sum(growing.values()) > self._free():
                victim = self._last_admitted()
                growing.pop(victim, None)
                yield from self._preempt(victim)
        self.prefixes.shrink(self._free() - sum(growing.values()))
        # The last rows of a class first: a class that all rows leave has no gap to be closed.
        for sequence in sorted(growing, key=lambda s: self.slots.place(s).index, reverse=True):
            yield from self.slots.grow(sequence, sequence.computed + 1, sequence.computed)

    def _decode(self) -> int:
        """Let every running row take its last token and a draft; return the tokens of all."""
        for sequence in self._decoding:
            sequence.computed += 1
        budget = self.limits.max_num_batched_tokens
        # One token is always left for a prompt.
        left = most = min(budget // _DRAFT_SHARE, budget - len(self._decoding) - 1)
        for group in self.slots.groups():
            left -= self.drafts.draft_rows(group, left)
        return len(self._decoding) + most - left

    def _last_admitted(self) -> Sequence:
        """Return who gives way when memory is short: the latest, a batch sequence if there is."""
        return max(reversed(self.running), key=lambda sequence: sequence.priority)

    def _preempt(self, victim: Sequence) -> list[RowOp]:
        self.preemptions += 1
        return self._put_back(victim, keep=True)

    def _put_back(self, sequence: Sequence, *, keep: bool) -> list[RowOp]:
        """Take a sequence's row and let it wait, first in its queue, with the tokens it has."""
        ops = self._leave(sequence, keep=keep)
        sequence.state = SequenceState.WAITING
        sequence.computed = 0
        self._queues[sequence.priority].appendleft(sequence)
        return ops

    def _leave(self, sequence: Sequence, *, keep: bool) -> list[RowOp]:
        """Take a sequence's row; what it holds is kept for others if it is worth it."""
        if sequence in self._staged:
            del self._staged[sequence]
            key = self._keep(sequence) if keep else None
            return [Drop(sequence.key, sequence.computed, key)]
        self._decoding.remove(sequence)
        place = self.slots.place(sequence)
        ops = self.slots.leave(sequence)
        # Decoded rows are no prefix in deterministic mode, which computes prompts in chunks.
        key = self._keep(sequence) if keep and not self.limits.chunk_tokens else None
        return ops if key is None else [Keep(place, key, sequence.computed), *ops]

    def _keep(self, sequence: Sequence) -> int | None:
        """Return the key under which what a sequence holds is kept, None if it is not."""
        room = self._free()
        if sequence.computed > room:
            return None
        key = self.prefixes.add(sequence.token_ids[: sequence.computed], sequence.beginning)
        self.prefixes.shrink(room)
        return key

    def _chunks(self, budget: int, least: Priority = Priority.BATCH) -> Iterator[Chunk]:
        """Yield chunks of prompts, `budget` tokens together, and count them as computed.

        None is begun of a class lower than `least`.
        There is one at most of each, and so none after one of a prompt that is not whole yet.
        """
        begun: list[Sequence] = []
        while budget > 0:
            sequence, reuse = self._partial, None
            if sequence is None:
                sequence = self._admit(begun, least)
                if sequence is None:
                    return
                begun.append(sequence)
                reuse = self._reuse(sequence)
                sequence.computed = reuse.length if reuse else 0
            start = sequence.computed
            sequence.computed = self._chunk_end(sequence, budget)
            yield Chunk(sequence, start, sequence.computed, self._room(sequence), reuse)
            if not self.is_whole(sequence):
                return
            budget -= sequence.computed - start

    @property
    def _partial(self) -> Sequence | None:
        """The sequence whose prompt is not whole, if there is one: the one admitted last."""
        last = next(reversed(self._staged), None)
        return last if last is not None and not self.is_whole(last) else None

    def _chunk_end(self, sequence: Sequence, budget: int) -> int:
        prompt = self._staged[sequence]
        if not (size := self.limits.chunk_tokens):
            return min(prompt, sequence.computed + budget)
        return min(prompt, (sequence.computed // size + 1) * size)

    def _reuse(self, sequence: Sequence) -> Prefix | None:
        known = sequence.token_ids[: self._staged[sequence]]
        return self.prefixes.find(known, self.limits.chunk_tokens or 1)

    def _room(self, sequence: Sequence) -> int:
        """Return what the row of a prompt holds: a whole one is as long as the prompt."""
        computed = sequence.computed
        return computed if self.is_whole(sequence) else self.slots.capacity(computed)

    def _admit(self, begun: list[Sequence], least: Priority) -> Sequence | None:
        """Give the first that waits a row, if there is room for it.

        One that could reuse the prompt of another begun in this step waits for the next step.
        """
        sequence = self._next()
        if sequence is None or sequence.priority > least or not self._fits(sequence):
            return None
        if any(self._would_reuse(sequence, other) for other in begun):
            return None
        self._queues[sequence.priority].remove(sequence)
        whole = len(sequence.prompt_ids) if self.limits.chunk_tokens else sequence.length
        self._staged[sequence] = whole
        sequence.state = SequenceState.RUNNING
        # What was preempted, or in a failed step, has waited before.
        sequence.admitted_at = sequence.admitted_at or time.monotonic()
        self.prefixes.shrink(self._free())
        return sequence

    def _next(self) -> Sequence | None:
        """Return whose turn it is to get a row, if there is one."""
        if self.quarantine:
            return None if self.running else self.quarantine.first
        return next((queue[0] for queue in self._queues.values() if queue), None)

    def _would_reuse(self, sequence: Sequence, other: Sequence) -> bool:
        """Whether the other's tokens, once kept, would spare more than what is kept already."""
        if not self.prefixes.max_tokens:
            return False
        pairs = enumerate(zip(sequence.token_ids, other.token_ids, strict=False))
        shorter = min(sequence.length, other.length)
        alike = next((at for at, (one, two) in pairs if one != two), shorter)
        kept = self.prefixes.peek(sequence.token_ids)
        return alike - (kept.length if kept else 0) >= max(BLOCK, self.limits.chunk_tokens)

    def _fits(self, waiting: Sequence, without: list[Sequence] | None = None) -> bool:
        """Whether a sequence could run beside those that do, some of them left out."""
        gone = without or []
        running = len(self._decoding) + len(self._staged) - len(gone)
        free = self._free() + sum(map(self._reserved, gone))
        if running:
            free -= self._watermark
        needed = self.slots.capacity(waiting.length + 1)
        return running < self.limits.max_num_seqs and needed <= free

    def _free(self) -> int:
        """Return the tokens that no running sequence has; kept prefixes give way to them."""
        reserved = self.slots.allocated_tokens + sum(map(self._reserved, self._staged))
        return self.limits.kv_cache_tokens - reserved

    def _reserved(self, sequence: Sequence) -> int:
        """Return the tokens that a running sequence takes, or will when it joins its class."""
        if sequence in self._staged:
            # One whose first token fills the context ends with it.
            return self.slots.capacity(min(sequence.length + 1, self.limits.max_model_len))
        return self.slots.place(sequence).capacity
