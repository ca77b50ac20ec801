"""The forward pass of models that bring their own attention, as ALiBi's do.

Such a model sees rows as a rectangle with a mask, so it runs once for each segment of the step.
Owns those calls and what transformers takes for their cache. Knows no policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as ReadOnlySequence
from inspect import signature
from typing import Any

import torch
from torch.nn import functional
from transformers import Cache, PreTrainedModel

from services.worker.engine.segments import DecodeSegment, Segment
from services.worker.engine.step import Step


class OwnAttentionForward:
    """See `forward.Forward`."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Find out what the model takes."""
        self._model = model
        taken = signature(model.forward).parameters
        self._takes_positions = "position_ids" in taken
        # No token but the last of a chunk is ever sampled from.
        self._options: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}

    def logits(self, step: Step, wanted: ReadOnlySequence[int] | None) -> torch.Tensor:
        """Return [wanted, vocabulary]; see `forward.Forward`."""
        logits = torch.cat([self._last_logits(step, segment) for segment in step.segments])
        if step.padding:
            logits = functional.pad(logits, (0, 0, 0, step.padding))
        if wanted is None:
            return logits
        rows = {at: row for row, at in enumerate(_last_tokens(step))}
        return logits[[rows[at] for at in wanted]]

    def _last_logits(self, step: Step, segment: Segment) -> torch.Tensor:
        """Return [rows, vocabulary]: after the last token of each of the segment's rows."""
        ids, positions = step.input_ids[segment.tokens], step.positions[segment.tokens]
        mask = segment.token_mask().to(ids.device)
        options = self._options
        if self._takes_positions:
            options = {**options, "position_ids": positions.view(len(mask), -1)}
        output: Any = self._model(
            input_ids=ids.view(len(mask), -1),
            attention_mask=mask,
            past_key_values=_Rectangle(segment),
            use_cache=True,
            **options,
        )
        return output.logits[:, -1]


def _last_tokens(step: Step) -> Iterator[int]:
    """Yield where in the line the last token of each row is."""
    for segment in step.segments:
        tokens = range(segment.tokens.start, segment.tokens.stop)
        yield from tokens if isinstance(segment, DecodeSegment) else tokens[-1:]


class _Rectangle(Cache):
    """One segment's rows as `past_key_values`."""

    def __init__(self, segment: Segment) -> None:
        super().__init__(layers=[])
        self._segment = segment

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_args: Any,
        **_kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write [rows, kv_heads, new tokens, dim]; return [rows, kv_heads, all tokens, dim]."""
        # A chunk's tokens are all of one row.
        new = (states.transpose(1, 2).flatten(0, 1) for states in (key_states, value_states))
        return self._segment.write(layer_idx, *new)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the longest row before the present call; every layer has the same."""
        del layer_idx
        return self._segment.before

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """Return how many keys `update` will return, and the first one's position."""
        return self.get_seq_length(layer_idx) + query_length, 0
