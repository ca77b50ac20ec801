"""What changes a row's logits before its temperature: mask, bias, least length, penalties.

Owns what sequences with penalties have had, until it is released; sequences that ask for nothing
pay nothing. The order and the formulas are vLLM's: mask and bias, then repetition penalty, then frequency
and presence penalties. Knows no randomness.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as ReadOnlySequence

import torch

from services.worker.engine.sequence import Sequence
from services.worker.engine.token_history import TokenHistory


class Adjustments:
    """Adjusts all rows' logits at once."""

    def __init__(self, device: torch.device, eos_token_ids: frozenset[int]) -> None:
        """Start with no sequence that asks for anything."""
        self._device = device
        self._eos_token_ids = eos_token_ids
        self._places: dict[Sequence, int] = {}  # of sequences with penalties, in the history
        self._history = TokenHistory(device)

    def release(self, sequence: Sequence) -> None:
        """Forget what a sequence has had."""
        place = self._places.pop(sequence, None)
        if place is not None:
            self._history.give_back(place)

    def reset(self) -> None:
        """Forget what all sequences have had; those that go on are taken note of anew."""
        self._places.clear()
        self._history = TokenHistory(self._device)

    def apply(
        self,
        logits: torch.Tensor,
        sequences: ReadOnlySequence[Sequence],
        allowed: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return the adjusted logits: a new float32 tensor, or `logits` if nobody asks.

        Args:
            logits: [sequences, vocabulary].
            sequences: what the rows belong to.
            allowed: [sequences, vocabulary], bool: no other token may come; None: all may.
        """
        asking = [(row, each) for row, each in enumerate(sequences) if _asks(each)]
        if not asking and allowed is None:
            return logits
        logits = logits.to(torch.float32, copy=True)
        if allowed is not None:
            logits.masked_fill_(~allowed, -math.inf)
        self._bias(logits, asking)
        self._penalise(logits, [(row, each) for row, each in asking if each.params.penalises])
        return logits

    def count(self, tokens: torch.Tensor, sequences: ReadOnlySequence[Sequence]) -> None:
        """Take note of the tokens that came, int64 [sequences]; negative: none came."""
        if not self._places:
            return
        found = [
            (row, place)
            for row, each in enumerate(sequences)
            if (place := self._places.get(each)) is not None
        ]
        if found:
            rows, places = zip(*found, strict=True)
            self._history.add(self._int64(places), tokens[self._int64(rows)])

    def _bias(self, logits: torch.Tensor, asking: list[tuple[int, Sequence]]) -> None:
        """Add every row's biases in one call; min_tokens is a bias of -inf on what would end."""
        vocabulary = logits.shape[-1]
        entries = [
            (row, token_id, bias)
            for row, sequence in asking
            for token_id, bias in self._biases(sequence)
            if token_id < vocabulary
        ]
        if entries:
            rows, ids, values = zip(*entries, strict=True)
            where = (self._int64(rows), self._int64(ids))
            logits.index_put_(where, self._column(values), accumulate=True)

    def _biases(self, sequence: Sequence) -> list[tuple[int, float]]:
        params = sequence.params
        biases = list(params.logit_bias)
        if sequence.too_short:
            ends = set(params.stop_token_ids)
            if not params.ignore_eos:
                ends |= self._eos_token_ids
            biases += [(token_id, -math.inf) for token_id in sorted(ends)]
        return biases

    def _penalise(self, logits: torch.Tensor, asking: list[tuple[int, Sequence]]) -> None:
        """Lower what the rows have had.

        Repetition: positive logits of prompt's and output's tokens are divided, the others
        multiplied (Keskar et al., "CTRL", 2019). Frequency and presence: subtracted for each
        time, and once, that the output has the token (OpenAI's API reference).
        """
        if not asking:
            return
        rows = self._int64([row for row, _ in asking])
        places = self._int64([self._place(each, logits.shape[-1]) for _, each in asking])
        params = [sequence.params for _, sequence in asking]
        repetition = self._column([p.repetition_penalty for p in params])[:, None]
        frequency = self._column([p.frequency_penalty for p in params])[:, None]
        presence = self._column([p.presence_penalty for p in params])[:, None]
        in_prompt, output = self._history.look_up(places)
        had = output > 0
        chosen = logits[rows]
        repeated = torch.where(chosen > 0, chosen / repetition, chosen * repetition)
        chosen = torch.where(had | in_prompt, repeated, chosen)
        chosen -= frequency * output
        chosen -= presence * had
        logits[rows] = chosen

    def _place(self, sequence: Sequence, vocabulary: int) -> int:
        """Return the sequence's row of the history; what it has emitted so far counts."""
        place = self._places.get(sequence)
        if place is None:
            ids = sequence.prompt_ids, sequence.output_ids
            place = self._places[sequence] = self._history.take(*ids, vocabulary)
        return place

    def _int64(self, values: ReadOnlySequence[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._device)

    def _column(self, values: ReadOnlySequence[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device)


def _asks(sequence: Sequence) -> bool:
    params = sequence.params
    return bool(params.logit_bias) or sequence.too_short or params.penalises
