"""A model runner without a model: the next token is a function of the row's tokens."""

from __future__ import annotations

import threading

from services.worker.engine.prefix_index import Keep
from services.worker.engine.scheduler import Chunk
from services.worker.engine.sequence import TokenLogprobs

VOCABULARY = 1000
EOS = 0


def next_token(token_ids: list[int]) -> int:
    """Return a token in 1..999 that depends on every token before it."""
    mixed = 7
    for token in token_ids:
        mixed = (mixed * 31 + token + 1) % 1_000_003
    return 1 + mixed % (VOCABULARY - 1)


def expected_output(prompt_ids: tuple[int, ...], count: int) -> list[int]:
    """Return what a sequence with this prompt must generate, whatever runs beside it."""
    row = list(prompt_ids)
    for _ in range(count):
        row.append(next_token(row))
    return row[len(prompt_ids) :]


class FakeRunner:
    """Keeps rows as a real runner does and refuses what a real one would run wrongly."""

    def __init__(self, max_tokens: int = 10**9) -> None:
        self.rows: list[list[int]] = []
        self.max_tokens = max_tokens
        self.decode_calls: list[int] = []
        self.prefill_calls: list[int] = []  # tokens
        self.kept: dict[int, list[int]] = {}
        # Faults to come, each used once: exceptions, or -1 for a row without a token.
        self.prefill_faults: dict[tuple[int, ...], Exception] = {}
        self.decode_faults: list[Exception] = []
        self.release_faults: list[Exception] = []
        self.reset_faults: list[Exception] = []
        self.forced: dict[tuple[int, ...], int] = {}
        # Cleared by a test that wants to find the engine in the middle of a step.
        self.may_step = threading.Event()
        self.may_step.set()
        self.stepping = threading.Event()

    @property
    def eos_token_ids(self) -> frozenset[int]:
        return frozenset({EOS})

    def prefill(self, slot: int, chunk: Chunk) -> int | None:
        self._gate()
        sequence = chunk.sequence
        if chunk.reuse is not None or not chunk.start:
            assert slot == len(self.rows), "prefill begins in the first free slot"
            self.rows.append([])
        if chunk.reuse is not None:
            kept = self.kept[chunk.reuse.key]
            assert chunk.reuse.length <= len(kept)
            self.rows[slot] += kept[: chunk.reuse.length]
            assert tuple(self.rows[slot]) == sequence.token_ids[: chunk.start]
        row = self.rows[slot]
        assert slot == len(self.rows) - 1, "prefill goes on in the last slot"
        assert len(row) == chunk.start, "chunks follow each other"
        row += [*sequence.prompt_ids, *sequence.output_ids][chunk.start : chunk.end]
        self.prefill_calls.append(chunk.end - chunk.start)
        self._check_budget()
        if fault := self.prefill_faults.pop(sequence.prompt_ids, None):
            raise fault
        return self._next(slot) if chunk.is_last else None

    def decode(self, rows: int) -> list[int]:
        self._gate()
        assert rows in (len(self.rows), len(self.rows) - 1), "decode takes every whole row"
        self.decode_calls.append(rows)
        if self.decode_faults:
            raise self.decode_faults.pop(0)
        tokens = [self._next(slot) for slot in range(rows)]
        self._check_budget()
        return tokens

    def logprobs(self, slot: int) -> TokenLogprobs:
        """Tell the slot's last token again, in a form that no other token's has."""
        return TokenLogprobs(-float(self.rows[slot][-1]), ())

    def move(self, source: int, target: int) -> None:
        self.rows[target] = list(self.rows[source])

    def release(self) -> None:
        if self.release_faults:
            raise self.release_faults.pop(0)
        self.rows.pop()

    def keep(self, keep: Keep) -> None:
        assert keep.key not in self.kept
        assert keep.length <= len(self.rows[keep.slot])
        self.kept[keep.key] = self.rows[keep.slot][: keep.length]

    def forget(self, key: int) -> None:
        del self.kept[key]

    def reset(self) -> None:
        self.kept.clear()
        if self.reset_faults:
            raise self.reset_faults.pop(0)
        self.rows.clear()

    def _next(self, slot: int) -> int:
        row = self.rows[slot]
        token = self.forced.pop(tuple(row), None)
        row.append(next_token(row) if token is None else token)
        return row[-1]

    def _check_budget(self) -> None:
        # The last token of a row is sampled, not stored yet, or the row is not whole yet.
        longest = max(len(row) - 1 for row in self.rows)
        assert len(self.rows) * longest <= self.max_tokens, "more KV cache than there is"

    def _gate(self) -> None:
        self.stepping.set()
        assert self.may_step.wait(timeout=30)
