"""What the mock engine computes, step by step, and how long a step takes. Knows no clock.

A step decodes one token of each running sequence and prefills a chunk of the oldest prompts that
are not whole yet. It takes as long as its parts do on a GPU: the inter-token time grows with the
number of sequences, prompts have a rate. KV tokens are reserved for a whole answer, so nothing is
ever preempted; what is left of them keeps prefixes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tests.fakes.mock.prefix_cache import BLOCK_TOKENS, PrefixCache

Owner = TypeVar("Owner")


class Full(Exception):
    """So many wait that no more may."""


class TooLong(Exception):
    """More than the KV cache holds."""


@dataclass(frozen=True, slots=True)
class Costs:
    """The engine that is played; zero seconds and an endless rate make it a stub."""

    prefill_tokens_per_second: float = 8_000.0
    step_seconds: float = 0.006
    sequence_seconds: float = 0.000_35
    chunk_tokens: int = 512
    max_num_seqs: int = 32
    max_waiting: int = 16
    kv_tokens: int = 65_536
    prefix_cache: bool = True


@dataclass(eq=False, slots=True)
class Sequence(Generic[Owner]):
    """One answer: `done` of `max_tokens` are out, `computed` of the prompt are in the cache."""

    owner: Owner
    choice: int
    prompt_tokens: int
    max_tokens: int
    chain: tuple[int, ...]
    done: int = 0
    batch: bool = False
    computed: int = 0
    hit_tokens: int = 0
    pinned: tuple[int, ...] = ()
    private: int = 0


@dataclass(slots=True)
class Step(Generic[Owner]):
    """What is computed now; `seconds` of it."""

    decode: list[Sequence[Owner]] = field(default_factory=list)
    prefill: list[tuple[Sequence[Owner], int]] = field(default_factory=list)
    seconds: float = 0.0


class Scheduler(Generic[Owner]):
    """Sequences that wait and run."""

    def __init__(self, costs: Costs) -> None:
        self.costs = costs
        self.cache = PrefixCache()
        self.running: list[Sequence[Owner]] = []
        self._waiting: tuple[deque[Sequence[Owner]], ...] = (deque(), deque())
        self._private = 0

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting))

    @property
    def kv_tokens_used(self) -> int:
        """Tokens of running sequences; kept prefixes can go and do not count."""
        return self._private + self.cache.pinned_tokens

    def add(self, sequences: Ordered[Sequence[Owner]]) -> None:
        """Let all of one request wait.

        Raises:
            TooLong: one of them never fits. Full: not so many may wait.
        """
        costs = self.costs
        if any(s.prompt_tokens + s.max_tokens - s.done > costs.kv_tokens for s in sequences):
            raise TooLong
        places = costs.max_num_seqs - len(self.running) + costs.max_waiting
        if self.waiting + len(sequences) > places:
            raise Full
        for sequence in sequences:
            self._waiting[sequence.batch].append(sequence)

    def plan(self) -> Step[Owner] | None:
        """Return the next step; None: there is nothing to do."""
        self._admit()
        step: Step[Owner] = Step()
        left = self.costs.chunk_tokens
        for sequence in self.running:
            missing = sequence.prompt_tokens - sequence.computed
            if not missing:
                step.decode.append(sequence)
            elif left:
                step.prefill.append((sequence, min(missing, left)))
                left -= step.prefill[-1][1]
        if step.decode:
            step.seconds = self.costs.step_seconds
            step.seconds += self.costs.sequence_seconds * len(step.decode)
        prefilled = self.costs.chunk_tokens - left
        step.seconds += prefilled / self.costs.prefill_tokens_per_second
        return step if self.running else None

    def finish(self, step: Step[Owner]) -> list[Sequence[Owner]]:
        """Return the sequences that got a token; those that are whole have left."""
        # What was removed meanwhile holds nothing and gets nothing.
        emitted = [s for s in step.decode if s.private]
        for sequence, tokens in step.prefill:
            if sequence.private:
                sequence.computed += tokens
                if sequence.computed == sequence.prompt_tokens:
                    self._share(sequence)
                    emitted.append(sequence)
        for sequence in emitted:
            sequence.done += 1
            if sequence.done >= sequence.max_tokens:
                self.remove(sequence)
        return emitted

    def remove(self, sequence: Sequence[Owner]) -> None:
        """Give back all that a sequence holds, wherever it is; a second call does nothing."""
        if sequence.private:
            self.running.remove(sequence)
            self.cache.unpin(sequence.pinned)
            self._private -= sequence.private
            sequence.private, sequence.pinned = 0, ()
        elif sequence in self._waiting[sequence.batch]:
            self._waiting[sequence.batch].remove(sequence)

    def keep(self, chain: tuple[int, ...]) -> None:
        """Keep what a finished answer leaves behind, as far as there is room."""
        if self.costs.prefix_cache:
            new = (len(chain) - self.cache.match(chain)) * BLOCK_TOKENS
            if self._make_room(new):
                self.cache.pin(chain)
                self.cache.unpin(chain)

    def _admit(self) -> None:
        for queue in self._waiting:
            while queue and len(self.running) < self.costs.max_num_seqs:
                if not self._start(queue[0]):
                    return
                self.running.append(queue.popleft())

    def _start(self, sequence: Sequence[Owner]) -> bool:
        hits = self.cache.match(sequence.chain) if self.costs.prefix_cache else 0
        pinned = sequence.chain[:hits]
        self.cache.pin(pinned)
        private = sequence.prompt_tokens + sequence.max_tokens - sequence.done
        private = max(1, private - hits * BLOCK_TOKENS)
        if not self._make_room(private):
            self.cache.unpin(pinned)
            return False
        # The last token is computed in any case: its logits are wanted.
        sequence.hit_tokens = min(hits * BLOCK_TOKENS, sequence.prompt_tokens - 1)
        sequence.computed = sequence.hit_tokens
        sequence.pinned, sequence.private = pinned, private
        self._private += private
        return True

    def _share(self, sequence: Sequence[Owner]) -> None:
        """Turn a prompt that is whole now into blocks that others may stand on."""
        if not self.costs.prefix_cache:
            return
        fresh = sequence.chain[len(sequence.pinned) :]
        self.cache.pin(fresh)
        sequence.pinned = sequence.chain
        given = min(sequence.private - 1, len(fresh) * BLOCK_TOKENS)
        sequence.private -= given
        self._private -= given

    def _make_room(self, tokens: int) -> bool:
        lacking = self._private + self.cache.tokens + tokens - self.costs.kv_tokens
        if lacking > self.cache.tokens - self.cache.pinned_tokens:
            return False
        self.cache.evict(lacking)
        return True
