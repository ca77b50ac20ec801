"""What changes a row's logits before its temperature: mask, bias, least length, penalties.

Owns their state in slots, for those slots alone that ask for any of it; the others pay
nothing. A slot's state stays until the slot is taken again, so there is never more than the slots
need. The order and the formulas are vLLM's: mask and bias, then repetition penalty, then frequency
and presence penalties. Knows no randomness.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as ReadOnlySequence
from dataclasses import dataclass

import torch

from services.worker.engine.sequence import SamplingParams, Sequence
from services.worker.engine.token_history import TokenHistory


class Adjustments:
    """Adjusts all rows' logits at once."""

    def __init__(self, device: torch.device, eos_token_ids: frozenset[int]) -> None:
        """Start with no slot that asks for anything."""
        self._device = device
        self._eos_token_ids = eos_token_ids
        self._slots: dict[int, _Asked] = {}
        self._history = TokenHistory(device)

    def assign(self, slot: int, sequence: Sequence) -> None:
        """Give a slot to a sequence; what it has emitted counts as if it had been drawn here."""
        self._forget(slot)
        asked = _Asked(sequence.params, sequence.prompt_ids, tuple(sequence.output_ids))
        if asked.penalised or asked.params.logit_bias or asked.too_short:
            self._slots[slot] = asked

    def move(self, source: int, target: int) -> None:
        """Hand a slot's state to another; the source has none then."""
        moved = self._slots.pop(source, None)
        self._forget(target)
        if moved is not None:
            self._slots[target] = moved

    def apply(
        self, logits: torch.Tensor, slots: ReadOnlySequence[int], allowed: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the adjusted logits: a new float32 tensor, or `logits` if nobody asks.

        Args:
            logits: [slots, vocabulary].
            slots: what the rows belong to.
            allowed: [slots, vocabulary], bool: no other token may come; None: all may.
        """
        asking = self._asking(slots)
        if not asking and allowed is None:
            return logits
        logits = logits.to(torch.float32, copy=True)
        if allowed is not None:
            logits.masked_fill_(~allowed, -math.inf)
        self._bias(logits, asking)
        self._penalise(logits, asking)
        return logits

    def count(self, tokens: torch.Tensor, slots: ReadOnlySequence[int]) -> None:
        """Take note of the tokens that came, int64 [slots]; negative: none came."""
        asking = self._asking(slots)
        for _, asked in asking:
            asked.generated += 1
        rows, places = self._penalised(asking)
        if len(rows):
            self._history.add(places, tokens[rows])

    def _asking(self, slots: ReadOnlySequence[int]) -> list[tuple[int, _Asked]]:
        if not self._slots:
            return []
        return [(row, self._slots[slot]) for row, slot in enumerate(slots) if slot in self._slots]

    def _bias(self, logits: torch.Tensor, asking: list[tuple[int, _Asked]]) -> None:
        """Add every row's biases in one call; min_tokens is a bias of -inf on what would end."""
        vocabulary = logits.shape[-1]
        entries = [
            (row, token_id, bias)
            for row, asked in asking
            for token_id, bias in asked.biases(self._eos_token_ids)
            if token_id < vocabulary
        ]
        if entries:
            rows, ids, values = zip(*entries, strict=True)
            where = (self._int64(rows), self._int64(ids))
            logits.index_put_(where, self._column(values), accumulate=True)

    def _penalise(self, logits: torch.Tensor, asking: list[tuple[int, _Asked]]) -> None:
        """Lower what the rows have had.

        Repetition: positive logits of prompt's and output's tokens are divided, the others
        multiplied (Keskar et al., "CTRL", 2019). Frequency and presence: subtracted for each
        time, and once, that the output has the token (OpenAI's API reference).
        """
        for _, asked in asking:
            if asked.penalised and asked.place is None:
                ids = asked.prompt_ids, asked.output_ids
                asked.place = self._history.take(*ids, logits.shape[-1])
        rows, places = self._penalised(asking)
        if not len(rows):
            return
        params = [asked.params for _, asked in asking if asked.penalised]
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

    def _penalised(self, asking: list[tuple[int, _Asked]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return rows and places in the history of those with penalties, int64 both."""
        found = [(row, asked.place) for row, asked in asking if asked.place is not None]
        return self._int64([row for row, _ in found]), self._int64([place for _, place in found])

    def _forget(self, slot: int) -> None:
        asked = self._slots.pop(slot, None)
        if asked is not None and asked.place is not None:
            self._history.give_back(asked.place)

    def _int64(self, values: ReadOnlySequence[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._device)

    def _column(self, values: ReadOnlySequence[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device)


@dataclass(slots=True, eq=False)
class _Asked:
    """What one slot asks for; `place` is its row of the history, taken at its first step."""

    params: SamplingParams
    prompt_ids: tuple[int, ...]
    output_ids: tuple[int, ...]
    generated: int = 0
    place: int | None = None

    def __post_init__(self) -> None:
        self.generated = len(self.output_ids)

    @property
    def penalised(self) -> bool:
        params = self.params
        penalties = params.frequency_penalty, params.presence_penalty
        return params.repetition_penalty != 1 or any(penalties)

    @property
    def too_short(self) -> bool:
        return self.generated < self.params.min_tokens

    def biases(self, eos_token_ids: frozenset[int]) -> list[tuple[int, float]]:
        biases = list(self.params.logit_bias)
        if self.too_short:
            ends = set(self.params.stop_token_ids)
            if not self.params.ignore_eos:
                ends |= eos_token_ids
            biases += [(token_id, -math.inf) for token_id in sorted(ends)]
        return biases
