"""The model runner: one forward pass of a transformers model over rows of the KV cache.

Owns model, cache and sampler, and what moves between them and the host. Knows no policy:
which rows there are and when they leave is decided by the scheduler.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from transformers import PreTrainedModel

from services.worker.engine import attention
from services.worker.engine.kv_cache import KVCache
from services.worker.engine.memory import usable_bytes
from services.worker.engine.sampler import NO_TOKEN, Sampler
from services.worker.engine.sequence import SamplingParams, Sequence
from services.worker.engine.support import check_supported
from shared.errors import ConfigurationError, ModelNotSupported

# What a model class raises that does not take our cache, mask or arguments.
_PROBE_FAULTS = (
    TypeError,
    ValueError,
    RuntimeError,
    AttributeError,
    LookupError,
    ArithmeticError,
)


class ModelRunner:
    """Implements `engine.Runner` for an attention-based decoder-only model."""

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        max_num_seqs: int,
        max_model_len: int,
        eos_token_ids: frozenset[int],
        kv_cache_tokens: int = 0,
    ) -> None:
        """Take a model that is loaded, on its device, in its dtype; run two tokens through it.

        Args:
            model: its attention implementation is replaced.
            max_num_seqs: the number of slots.
            max_model_len: prompt and answer together, in tokens.
            eos_token_ids: what ends a sequence.
            kv_cache_tokens: what all slots may hold; 0: from the memory found.

        Raises:
            ModelNotSupported: the engine cannot run this architecture.
            ConfigurationError: the memory found holds no KV cache.
        """
        self._model = model.eval()
        self._device = model.device
        # Sampling needs float64, which Apple's devices do not have.
        self._sampling_device = torch.device("cpu") if model.device.type == "mps" else model.device
        self._eos_token_ids = eos_token_ids
        check_supported(model, max_model_len)
        attention.register()
        model.set_attn_implementation(  # pyright: ignore[reportUnknownMemberType]
            attention.ATTENTION
        )
        if getattr(model.config, "_attn_implementation", None) != attention.ATTENTION:
            msg = f"{type(model).__name__} does not let its attention be replaced"
            raise ModelNotSupported(msg)
        self._cache = KVCache(
            max_num_seqs=max_num_seqs, max_model_len=max_model_len, device=self._device
        )
        self._sampler = Sampler(max_num_seqs, self._sampling_device)
        self._last_tokens = torch.zeros(max_num_seqs, dtype=torch.int64, device=self._device)
        bytes_per_token = self._probe()
        tokens = kv_cache_tokens or usable_bytes(self._device) // bytes_per_token
        self._cache.max_tokens = min(tokens, self._cache.max_tokens)
        self.max_model_len = min(max_model_len, self._cache.max_tokens)
        if self.max_model_len <= 1:
            msg = f"{tokens} tokens of KV cache are too few for any request"
            raise ConfigurationError(msg, param="LLMZOO_KV_CACHE_TOKENS")

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """Token ids that end a sequence."""
        return self._eos_token_ids

    @property
    def kv_cache_tokens(self) -> int:
        """Tokens that all slots together may hold."""
        return self._cache.max_tokens

    @torch.inference_mode()
    def prefill(self, slot: int, sequence: Sequence) -> int:
        """Fill the slot (the first free one) with prompt and output; return the next token's id.

        Raises:
            ArithmeticError: the model gave no finite numbers.
        """
        token_ids = (*sequence.prompt_ids, *sequence.output_ids)
        length = len(token_ids)
        self._cache.begin_prefill(slot, length)
        self._sampler.assign(slot, sequence.params, sequence.choice, len(sequence.output_ids))
        logits = self._forward(
            torch.tensor([token_ids], device=self._device),
            torch.arange(length, device=self._device)[None],
            None,
        )
        (token,) = self._sample(logits, slice(slot, slot + 1))
        if token == NO_TOKEN:
            self._cache.wipe(slot)
            msg = "the model's logits are not finite"
            raise ArithmeticError(msg)
        self._cache.commit(slot, length)
        return token

    @torch.inference_mode()
    def decode(self, rows: int) -> list[int]:
        """Return the next token id of each of the slots 0..rows-1; negative: it has none."""
        positions, mask = self._cache.begin_decode(rows, self._model.dtype)
        logits = self._forward(self._last_tokens[:rows, None], positions[:, None], mask)
        tokens = self._sample(logits, slice(0, rows))
        for slot, token in enumerate(tokens):
            if token == NO_TOKEN:
                self._cache.wipe(slot)
        return tokens

    @torch.inference_mode()
    def release(self, slot: int) -> None:
        """Free a slot; the row in the last slot moves into it."""
        last = self._cache.release(slot)
        self._sampler.move(last, slot)
        self._last_tokens[slot] = self._last_tokens[last]

    def reset(self) -> None:
        """Free every slot and the cache's memory."""
        self._cache.reset()

    def _forward(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the last position's logits, [rows, vocabulary], in the model's dtype."""
        output: Any = self._model(
            input_ids=input_ids,
            position_ids=position_ids,
            attention_mask=mask,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1]

    def _sample(self, logits: torch.Tensor, rows: slice) -> list[int]:
        tokens = self._sampler.sample(logits.to(self._sampling_device), rows)
        self._last_tokens[rows] = tokens.to(self._device)
        return cast("list[int]", tokens.tolist())  # pyright: ignore[reportUnknownMemberType]

    def _probe(self) -> int:
        """Run two tokens through every layer; return the bytes that a token takes."""
        probe = Sequence("probe", 0, (0,), SamplingParams(max_tokens=2, seed=0, temperature=0))
        try:
            self.prefill(0, probe)
            self.decode(1)
        except _PROBE_FAULTS as fault:
            msg = f"{type(self._model).__name__} does not run on this engine: {fault}"
            raise ModelNotSupported(msg) from fault
        layers, bytes_per_token = self._cache.layer_count, self._cache.bytes_per_token
        self.reset()
        if layers != self._model.config.num_hidden_layers:
            msg = f"{type(self._model).__name__} keeps keys and values for {layers} layers only"
            raise ModelNotSupported(msg)
        return bytes_per_token
