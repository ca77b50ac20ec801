"""The scheduler: which sequences prefill and which decode in the next step.

Owns the queues, the order of the running rows, the budget of tokens of a step and that of the KV
cache. Knows no tensor: a slot is a number here, and `slot == index in running` always holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from services.worker.engine.prefix_index import BLOCK, Keep, Prefix, PrefixIndex
from services.worker.engine.sequence import FinishReason, Sequence, SequenceState
from shared.errors import ContextTooLong, InvalidRequest, Overloaded
from shared.protocol.priority import Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the scheduler may hand out; all counts are of sequences or tokens.

    `max_num_batched_tokens` bounds a step, so that a long prompt stalls nobody for longer.
    `prefix_cache_tokens` is the part of the KV cache that prefixes may take while it is free.
    """

    max_num_seqs: int
    max_waiting: int
    max_model_len: int
    kv_cache_tokens: int
    max_num_batched_tokens: int = 2048
    prefix_cache_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens `start` to `end` of a sequence, to be prefilled in one step.

    `reuse` is what the first chunk's slot begins with; else that begins empty, at 0.
    """

    sequence: Sequence
    start: int
    end: int
    reuse: Prefix | None = None

    @property
    def is_last(self) -> bool:
        """Whether the sequence's next token can be drawn afterwards."""
        return self.end == self.sequence.length


@dataclass(frozen=True, slots=True)
class Vacancy:
    """A slot is left.

    First its row is kept where `keep` says so; then rows move as `moves` says, (from, to), and the
    last slot is free.
    """

    moves: tuple[tuple[int, int], ...]
    keep: Keep | None = None


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step, in this order.

    Attributes:
        vacancies: slots that preempted sequences leave.
        decode: slots 0..n-1, one token each.
        prefill: chunks for the slots right after them.
    """

    vacancies: tuple[Vacancy, ...]
    decode: tuple[Sequence, ...]
    prefill: tuple[Chunk, ...]


class Scheduler:
    """Interactive before batch, and within each first come, first served: nobody overtakes.

    Batch sequences make room when an interactive one waits: the one admitted last goes back to the
    head of its queue and is prefilled again later, with what it has generated.
    """

    def __init__(self, limits: Limits) -> None:
        """Start empty."""
        self.limits = limits
        # In the order of their slots. Only the last one may be prefilled in part.
        self.running: list[Sequence] = []
        self.preemptions = 0
        self.prefixes = PrefixIndex(limits.prefix_cache_tokens)
        self._queues: dict[Priority, deque[Sequence]] = {each: deque() for each in Priority}
        self._partial: Sequence | None = None
        self._admitted: list[Sequence] = []  # those that run, the latest last

    @property
    def waiting(self) -> list[Sequence]:
        """The sequences without a slot, in the order in which they will get one."""
        return [sequence for queue in self._queues.values() for sequence in queue]

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self.running) or any(self._queues.values())

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
        """Put the sequence at the end of its queue; raises what `check` raises."""
        ahead = [s for s in (*self.running, *self.waiting) if s.priority <= sequence.priority]
        self.check(sequence, len(ahead))
        self._queues[sequence.priority].append(sequence)

    def schedule(self) -> StepPlan:
        """Plan a step: every running row decodes, and prompts fill up the budget of tokens.

        A step that decodes takes one token of a prompt at least, so that prompts move on.
        """
        vacancies = tuple(self._preempted())
        decode = tuple(s for s in self.running if s is not self._partial)
        for sequence in decode:
            sequence.computed += 1
        chunks = tuple(self._chunks(max(1, self.limits.max_num_batched_tokens - len(decode))))
        return StepPlan(vacancies, decode, chunks)

    def keep(self, sequence: Sequence) -> Keep | None:
        """Return how the row of a running sequence is to be kept for others, if it is worth it."""
        token_ids = sequence.token_ids[: sequence.computed]
        room = self.limits.kv_cache_tokens - self.kv_tokens_used
        if len(token_ids) > room:
            return None
        key = self.prefixes.add(token_ids)
        self.prefixes.shrink(room)
        return None if key is None else Keep(self.running.index(sequence), key, len(token_ids))

    def finish(self, sequence: Sequence, reason: FinishReason) -> Vacancy | None:
        """End a sequence and return the slot it leaves, None if it had none."""
        vacancy = None
        if sequence.state is SequenceState.RUNNING:
            keep = None if reason is FinishReason.ERROR else self.keep(sequence)
            vacancy = self._leave(sequence, keep)
        elif sequence.state is SequenceState.WAITING:
            self._queues[sequence.priority].remove(sequence)
        sequence.state = SequenceState.FINISHED
        sequence.finish_reason = reason
        return vacancy

    def find(self, request_id: str) -> list[Sequence]:
        """Return the unfinished sequences of a request."""
        return [s for s in (*self.running, *self.waiting) if s.request_id == request_id]

    def _chunks(self, budget: int) -> Iterator[Chunk]:
        """Yield chunks of prompts, `budget` tokens together, and count them as computed."""
        begun: list[Sequence] = []
        while budget > 0:
            sequence, reuse = self._partial, None
            if sequence is None:
                sequence = self._admit(begun)
                if sequence is None:
                    return
                begun.append(sequence)
                reuse = self.prefixes.find(sequence.token_ids)
                sequence.computed = reuse.length if reuse else 0
            start = sequence.computed
            sequence.computed = min(sequence.length, start + budget)
            chunk = Chunk(sequence, start, sequence.computed, reuse)
            self._partial = None if chunk.is_last else sequence
            budget -= chunk.end - chunk.start
            yield chunk

    def _admit(self, begun: list[Sequence]) -> Sequence | None:
        """Move the first that waits into a slot, if there is room for it.

        One that could reuse the prompt of another begun in this step waits for the next step.
        """
        queue = next((queue for queue in self._queues.values() if queue), None)
        if queue is None or not self._fits(queue[0], self.running):
            return None
        if any(self._would_reuse(queue[0], other) for other in begun):
            return None
        sequence = queue.popleft()
        self.running.append(sequence)
        self._admitted.append(sequence)
        sequence.state = SequenceState.RUNNING
        self.prefixes.shrink(self.limits.kv_cache_tokens - self.kv_tokens_used)
        return sequence

    def _preempted(self) -> list[Vacancy]:
        """Take slots from batch sequences while an interactive one waits that needs them."""
        queue = self._queues[Priority.INTERACTIVE]
        vacancies: list[Vacancy] = []
        while queue and (victim := self._victim(queue[0])):
            vacancies.append(self._leave(victim, self.keep(victim)))
            victim.state = SequenceState.WAITING
            victim.computed = 0
            self._queues[Priority.BATCH].appendleft(victim)
            self.preemptions += 1
        return vacancies

    def _victim(self, waiting: Sequence) -> Sequence | None:
        """Return the batch sequence that stands in the way, None if none does or none would do."""
        interactive = [s for s in self.running if s.priority is Priority.INTERACTIVE]
        if not self._fits(waiting, interactive):
            return None
        if self._partial is not None and self._partial.priority is Priority.BATCH:
            return self._partial
        if self._fits(waiting, self.running):
            return None
        return next(s for s in reversed(self._admitted) if s.priority is Priority.BATCH)

    def _leave(self, sequence: Sequence, keep: Keep | None) -> Vacancy:
        """Take a row out; the last whole row moves into the hole, and the partial one after it."""
        moves: list[tuple[int, int]] = []
        slot, last = self.running.index(sequence), len(self.running) - 1
        self._admitted.remove(sequence)
        if self._partial is sequence:
            self._partial = None
        whole = last if self._partial is None else last - 1
        for source, target in ((whole, slot), (last, whole)):
            if source != target:
                self.running[target] = self.running[source]
                moves.append((source, target))
        self.running.pop()
        return Vacancy(tuple(moves), keep)

    def _would_reuse(self, sequence: Sequence, other: Sequence) -> bool:
        """Whether the other's tokens, once kept, would spare more than what is kept already."""
        if not self.prefixes.max_tokens:
            return False
        pairs = enumerate(zip(sequence.token_ids, other.token_ids, strict=False))
        shorter = min(sequence.length, other.length)
        alike = next((at for at, (one, two) in pairs if one != two), shorter)
        kept = self.prefixes.peek(sequence.token_ids)
        return alike - (kept.length if kept else 0) >= BLOCK

    def _fits(self, sequence: Sequence, running: list[Sequence]) -> bool:
        rows = [*running, sequence]
        tokens = self.limits.kv_cache_tokens
        return len(rows) <= self.limits.max_num_seqs and self._footprint(rows) <= tokens

    def _footprint(self, sequences: list[Sequence]) -> int:
        # The cache is a rectangle: every row is as wide as the longest may become.
        longest = max((self._reserve(sequence) for sequence in sequences), default=0)
        return len(sequences) * longest

    def _reserve(self, sequence: Sequence) -> int:
        wanted = len(sequence.prompt_ids) + sequence.params.max_tokens
        return min(wanted, self.limits.max_model_len)
