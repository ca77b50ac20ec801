"""A model's forward pass over rows of the KV cache.

Owns the arguments of the call, which differ with whose attention runs: the engine's, put in the
place of the model's, or the model's own. Knows no sequence, no sampling and no policy.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch
from transformers import PreTrainedModel

from services.worker.engine import attention
from services.worker.engine.kv_cache import ChunkWrite, KVCache, TokenWrite
from shared.errors import ModelNotSupported


class Forward:
    """Calls the model; every call returns the last position's logits, in the model's dtype."""

    def __init__(self, model: PreTrainedModel, *, own_attention: bool) -> None:
        """Replace the model's attention, or find out what a model with its own takes.

        Raises:
            ModelNotSupported: the attention was to be replaced and cannot be.
        """
        self._model = model
        self._own_attention = own_attention
        self._takes_positions = True
        self._options: dict[str, Any] = {"logits_to_keep": 1}
        if own_attention:
            taken = signature(model.forward).parameters
            self._takes_positions = "position_ids" in taken
            self._options = {name: v for name, v in self._options.items() if name in taken}
        else:
            _replace_attention(model)

    def chunk(self, input_ids: torch.Tensor, write: ChunkWrite, cache: KVCache) -> torch.Tensor:
        """Run tokens of one row, int64 [1, tokens]; return [1, vocabulary]."""
        device = input_ids.device
        if self._own_attention:
            mask = write.token_mask(device)
        else:
            mask = write.added_mask(self._model.dtype, device)
        return self._run(input_ids, write.positions(device), mask, cache)

    def tokens(self, input_ids: torch.Tensor, write: TokenWrite, cache: KVCache) -> torch.Tensor:
        """Run one token a row, int64 [rows, 1]; return [rows, vocabulary]."""
        own = self._own_attention
        mask = write.token_mask() if own else write.added_mask(self._model.dtype)
        return self._run(input_ids, write.positions[:, None], mask, cache)

    def uncached(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Run one whole prompt as the model does by itself; return [1, vocabulary]."""
        output: Any = self._model(input_ids=input_ids, use_cache=False)
        return output.logits[:, -1]

    def _run(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        mask: torch.Tensor | None,
        cache: KVCache,
    ) -> torch.Tensor:
        options = self._options
        if self._takes_positions:
            options = {**options, "position_ids": position_ids}
        output: Any = self._model(
            input_ids=input_ids,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **options,
        )
        return output.logits[:, -1]


def _replace_attention(model: PreTrainedModel) -> None:
    attention.register()
    model.set_attn_implementation(  # pyright: ignore[reportUnknownMemberType]
        attention.ATTENTION
    )
    if getattr(model.config, "_attn_implementation", None) != attention.ATTENTION:
        msg = f"{type(model).__name__} does not let its attention be replaced"
        raise ModelNotSupported(msg)
