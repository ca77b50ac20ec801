"""Which tokens a row has had: what penalties are computed from.

Owns one row of counts over the vocabulary for each slot that asks for penalties, allocated on
demand and given back when no slot asks any more. Knows no parameters.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch


class TokenHistory:
    """Rows of counts; 5 bytes for each token of the vocabulary and each row in use."""

    def __init__(self, device: torch.device) -> None:
        """Start without rows."""
        self._device = device
        self._free: list[int] = []
        self._rows = 0
        self._drop()

    @property
    def rows(self) -> int:
        """The rows that are allocated."""
        return self._rows

    def take(self, prompt_ids: Iterable[int], output_ids: Iterable[int], vocabulary: int) -> int:
        """Return a row that holds the given tokens."""
        if not self._free:
            self._grow(max(1, self._rows), vocabulary)
        place = self._free.pop()
        self._prompt[place] = False
        self._prompt[place, self._ids(prompt_ids, vocabulary)] = True
        self._output[place] = torch.bincount(
            self._ids(output_ids, vocabulary), minlength=vocabulary
        ).to(torch.int32)
        return place

    def give_back(self, place: int) -> None:
        """Free a row."""
        self._free.append(place)
        if len(self._free) == self._rows:
            self._drop()

    def look_up(self, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return whether the prompt has each token, bool, and how often the output, int32.

        Both are [places, vocabulary].
        """
        return self._prompt[places], self._output[places]

    def add(self, places: torch.Tensor, tokens: torch.Tensor) -> None:
        """Count one token of the output in each row, none where the token is negative."""
        self._output[places, tokens.clamp(min=0)] += (tokens >= 0).to(torch.int32)

    def _ids(self, ids: Iterable[int], vocabulary: int) -> torch.Tensor:
        known = [token_id for token_id in ids if token_id < vocabulary]
        return torch.tensor(known, dtype=torch.int64, device=self._device)

    def _grow(self, rows: int, vocabulary: int) -> None:
        shape = (rows, vocabulary)
        prompt = torch.zeros(shape, dtype=torch.bool, device=self._device)
        output = torch.zeros(shape, dtype=torch.int32, device=self._device)
        self._prompt = torch.cat([self._prompt, prompt]) if self._rows else prompt
        self._output = torch.cat([self._output, output]) if self._rows else output
        self._free += range(self._rows, self._rows + rows)
        self._rows += rows

    def _drop(self) -> None:
        self._prompt = torch.zeros(0, 0, dtype=torch.bool, device=self._device)
        self._output = torch.zeros(0, 0, dtype=torch.int32, device=self._device)
        self._free.clear()
        self._rows = 0
