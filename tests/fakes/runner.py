"""A model runner without a model: the next token is a function of the row's tokens."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from services.worker.engine.scheduler import Chunk
from services.worker.engine.sequence import Drawn, Sequence, TokenLogprobs
from services.worker.engine.slots import Group, RowOp
from tests.fakes.chunk_faults import failed_chunk
from tests.fakes.rows import FakeRows

VOCABULARY = 1000
EOS = 0


def next_token(token_ids: list[int]) -> int:
    """Return a token in 1..999 that depends on every token before it."""
    return 1 + hash(tuple(token_ids)) % (VOCABULARY - 1)


def expected_output(prompt_ids: tuple[int, ...], count: int) -> list[int]:
    """Return what a sequence with this prompt must generate, whatever runs beside it."""
    row = list(prompt_ids)
    for _ in range(count):
        row.append(next_token(row))
    return row[len(prompt_ids) :]


class FakeRunner:
    """Keeps rows as a real runner does and refuses what a real one would run wrongly."""

    def __init__(self, max_tokens: int = 10**9) -> None:
        self.held = FakeRows()
        self.max_tokens = max_tokens
        # Of whom something is remembered besides their row.
        self.known: set[Sequence] = set()
        # What ran: rows of each step, tokens of each chunk, and the last step itself.
        self.decode_calls: list[int] = []
        self.prefill_calls: list[int] = []
        self.last_groups: tuple[Group, ...] = ()
        self.last_chunks: tuple[Chunk, ...] = ()
        self.last_drafted = 0
        # Faults to come, each used once.
        self.prefill_faults: dict[tuple[int, ...], Exception] = {}  # by prompt: its next chunk's
        self.decode_faults: list[Exception] = []
        self.apply_faults: list[Exception] = []
        self.release_faults: list[Exception] = []
        self.reset_faults: list[Exception] = []
        # From all tokens of a row to the next one; NO_TOKEN for a row without one.
        self.forced: dict[tuple[int, ...], int] = {}
        # Cleared by a test that wants to find the engine in the middle of a step.
        self.may_step = threading.Event()
        self.may_step.set()
        self.stepping = threading.Event()

    @property
    def eos_token_ids(self) -> frozenset[int]:
        return frozenset({EOS})

    @property
    def rows(self) -> list[list[int]]:
        """What the running sequences hold."""
        return self.held.all()

    @property
    def kept(self) -> dict[int, list[int]]:
        """What is kept, by key."""
        return self.held.kept

    def apply(self, ops: Iterable[RowOp]) -> None:
        ops = tuple(ops)
        if ops and self.apply_faults:
            raise self.apply_faults.pop(0)
        self.held.apply(ops)

    def run(
        self, groups: tuple[Group, ...], chunks: tuple[Chunk, ...]
    ) -> dict[Sequence, list[Drawn]]:
        self._gate()
        assert groups or chunks, "a step computes something"
        self.last_groups, self.last_chunks = groups, chunks
        rows = (sequence for group in groups for sequence in group.sequences)
        self.last_drafted = sum(len(sequence.draft) for sequence in rows)
        drawn: dict[Sequence, list[Drawn]] = {}
        if groups:
            self._decode(groups, drawn)
        assert len({chunk.sequence for chunk in chunks}) == len(chunks), "one chunk of a prompt"
        for chunk in chunks:
            self._prefill(chunk, drawn)
        assert self.held.running_tokens <= self.max_tokens, "more KV cache than there is"
        return drawn

    def release(self, sequence: Sequence) -> None:
        if self.release_faults:
            raise self.release_faults.pop(0)
        self.known.discard(sequence)

    def reset(self) -> None:
        self.held.reset()
        self.known.clear()
        if self.reset_faults:
            raise self.reset_faults.pop(0)

    def _gate(self) -> None:
        self.stepping.set()
        assert self.may_step.wait(timeout=30)

    def _decode(self, groups: tuple[Group, ...], drawn: dict[Sequence, list[Drawn]]) -> None:
        rows = {capacity: len(rows) for capacity, rows in self.held.classes.items()}
        laid_out = {group.capacity: len(group.sequences) for group in groups}
        assert laid_out == rows, "every row of every class decodes"
        assert list(laid_out) == sorted(laid_out), "the smallest class comes first"
        self.decode_calls.append(sum(rows.values()))
        if self.decode_faults:
            raise self.decode_faults.pop(0)
        for group in groups:
            for index, sequence in enumerate(group.sequences):
                row = self.held.row(group.capacity, index)
                row.append(sequence.token(len(row)))
                assert len(row) + len(sequence.draft) <= group.capacity, "a row fits its class"
                row.drafted = 0
                self._draw(sequence, row, drawn)
                for token in sequence.draft:
                    if drawn[sequence][-1].token_id != token:
                        break
                    row.append(token)
                    row.drafted += 1
                    self._draw(sequence, row, drawn)

    def _prefill(self, chunk: Chunk, drawn: dict[Sequence, list[Drawn]]) -> None:
        sequence = chunk.sequence
        if fault := self.prefill_faults.pop(sequence.prompt_ids, None):
            if sequence.key not in self.held.staged:
                self.held.unwritten.add(sequence.key)
            drawn[sequence] = [failed_chunk(fault)]
            return
        row = self.held.stage(sequence.key, chunk.room, chunk.reuse)
        assert len(row) == chunk.start < chunk.end <= chunk.room, "chunks follow each other"
        row += sequence.token_ids[chunk.start : chunk.end]
        self.prefill_calls.append(chunk.end - chunk.start)
        self._draw(sequence, row, drawn)

    def _draw(self, sequence: Sequence, row: list[int], drawn: dict[Sequence, list[Drawn]]) -> None:
        results = drawn.setdefault(sequence, [])
        assert len(row) == sequence.computed + len(results), "a row holds what its sequence says"
        known = (*sequence.token_ids, *sequence.draft)
        assert tuple(row) == known[: len(row)], "a row is its sequence's own"
        if not sequence.draws:
            del drawn[sequence]
            return
        self.known.add(sequence)
        token = self.forced.pop(tuple(row), None)
        token = next_token(row) if token is None else token
        # The token again, in a form that no other token's has.
        told = None if sequence.params.logprobs is None else TokenLogprobs(-float(token), ())
        results.append(Drawn(token, told))
