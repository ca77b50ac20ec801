"""transformers' own forward pass, with the engine's attention in the place of the model's.

Owns the attention function that transformers calls and its registration. Knows no policy.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence as ReadOnlySequence
from inspect import signature
from typing import Any, cast

import torch
from transformers import AttentionInterface, Cache, PreTrainedModel

from services.worker.engine.layer_attention import AttentionKind
from services.worker.engine.step import Step
from services.worker.engine.support import slides
from shared.errors import ModelNotSupported

# Arguments that change the result and that the engine's attention does not honour.
_UNSUPPORTED = ("s_aux", "position_bias", "cache")

_numbers = itertools.count()


class StockForward:
    """For architectures that `Decoder` does not know; see `forward.Forward`."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Replace the model's attention.

        No mask function is registered under the name, so transformers makes no mask.

        Raises:
            ModelNotSupported: the model does not let its attention be replaced.
        """
        self._model = model
        self._step: Step | None = None
        self._windows: set[int | None] = set()
        self._keeps_some = "logits_to_keep" in signature(model.forward).parameters
        name = f"llmzoo-{next(_numbers)}"
        AttentionInterface.register(name, self._attend)  # pyright: ignore[reportUnknownMemberType]
        model.set_attn_implementation(name)  # pyright: ignore[reportUnknownMemberType]
        if getattr(model.config, "_attn_implementation", None) != name:
            msg = f"{type(model).__name__} does not let its attention be replaced"
            raise ModelNotSupported(msg)

    def logits(self, step: Step, wanted: ReadOnlySequence[int] | None) -> torch.Tensor:
        """Return [wanted, vocabulary]; see `forward.Forward`."""
        self._step = step
        options: dict[str, Any] = {}
        if wanted is not None:
            wanted_at = torch.tensor(wanted, dtype=torch.int64, device=step.input_ids.device)
            options = {"logits_to_keep": wanted_at} if self._keeps_some else {}
        output: Any = self._model(
            input_ids=step.input_ids[None],
            position_ids=step.positions[None],
            attention_mask=None,
            past_key_values=_KeptElsewhere(),
            use_cache=True,
            **options,
        )
        if slides(self._model.config) and self._windows == {None}:
            msg = f"{type(self._model).__name__} does not say which layers slide"
            raise ModelNotSupported(msg)
        logits = output.logits[0]
        return logits if wanted is None or options else logits[list(wanted)]

    def _attend(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        *,
        scaling: float | None = None,
        sliding_window: int | None = None,
        softcap: float | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, None]:
        """Return attention's output, [1, tokens, heads, value_dim], and no weights.

        Args:
            module: the layer.
            query: [1, heads, tokens, head_dim]; `key` and `value` alike, with kv_heads.
            key: see `query`.
            value: see `query`.
            attention_mask: none is asked for.
            scaling: factor of the scores, by default head_dim ** -0.5.
            sliding_window: a token sees this many, itself included.
            softcap: as in `attention`.
            kwargs: what else transformers passes on.

        Raises:
            ModelNotSupported: the model asks for a variant of attention that is not served.
        """
        for name in _UNSUPPORTED:
            if kwargs.get(name) is not None:
                msg = f"attention with {name} is not supported"
                raise ModelNotSupported(msg)
        assert self._step is not None
        del attention_mask
        self._windows.add(sliding_window)
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        kind = AttentionKind(scale, sliding_window, softcap)
        asked, keys, values = (states[0].transpose(0, 1) for states in (query, key, value))
        layer = cast("int", module.layer_idx)
        return self._step.attend(layer, asked, keys, values, kind)[None], None


class _KeptElsewhere(Cache):
    """What transformers takes for a cache: it hands on what comes, which `_attend` keeps."""

    def __init__(self) -> None:
        super().__init__(layers=[])

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the new keys and values."""
        return key_states, value_states

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return 0: positions are told to the model."""
        del layer_idx
        return 0
