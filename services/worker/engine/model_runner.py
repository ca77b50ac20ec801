"""The model runner: one forward pass of a transformers model over rows of the KV cache.

Owns model, cache and sampler, and what moves between them and the host. Knows no policy:
which rows there are and when they leave is decided by the scheduler.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any, cast

import structlog
import torch
from transformers import PreTrainedModel

from services.worker.engine.forward import Forward
from services.worker.engine.kv_cache import KVCache
from services.worker.engine.memory import usable_bytes
from services.worker.engine.prefix_index import Keep
from services.worker.engine.sampler import Sampler
from services.worker.engine.scheduler import Chunk
from services.worker.engine.sequence import NO_TOKEN, SamplingParams, Sequence, TokenLogprobs
from services.worker.engine.support import check_supported, has_own_attention
from shared.errors import ConfigurationError, ModelNotSupported

log = structlog.get_logger(__name__)

# What a model class raises that does not take our cache, mask or arguments.
_PROBE_FAULTS = (
    TypeError,
    ValueError,
    RuntimeError,
    AttributeError,
    LookupError,
    ArithmeticError,
)

# Lengths of the prompts that a model with its own attention is tried with, in tokens.
_LONG, _SHORT = 16, 4
# How far their logits may be off, in parts of the logits' spread. Measured with SmolLM2-135M:
# rounding comes to 0.02 in bfloat16, in which packed layers compute whatever the model's dtype is;
# wrong positions or a mask not heeded come to 0.4 and more.
_TOLERANCE = 0.1


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
        """Take a model that is loaded, on its device, in its dtype; try it.

        Args:
            model: its attention implementation is replaced where transformers permits it.
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
        own_attention = has_own_attention(model)
        self._forward = Forward(model, own_attention=own_attention)
        self._cache = KVCache(
            max_num_seqs=max_num_seqs, max_model_len=max_model_len, device=self._device
        )
        self._sampler = Sampler(max_num_seqs, self._sampling_device, eos_token_ids)
        self._last_tokens = torch.zeros(max_num_seqs, dtype=torch.int64, device=self._device)
        bytes_per_token = self._probe()
        if own_attention:
            if not self._rows_agree(min(2, max_num_seqs), max_model_len - 1):
                msg = (
                    f"{type(model).__name__} cannot be served: "
                    "its own attention does not work with rows of different lengths"
                )
                raise ModelNotSupported(msg)
            log.info("own_attention", model=type(model).__name__)
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
    def prefill(self, slot: int, chunk: Chunk) -> int | None:
        """Add a chunk to a slot; return the next token's id after the last chunk, else None."""
        sequence = chunk.sequence
        token_ids = sequence.token_ids[chunk.start : chunk.end]
        if chunk.reuse is not None:
            self._cache.reuse(slot, chunk.reuse)
        write = self._cache.begin_prefill(slot, chunk.start, chunk.end)
        input_ids = torch.tensor([token_ids], device=self._device)
        logits = self._forward.chunk(input_ids, write, self._cache)
        if not chunk.is_last:
            self._cache.commit(write)
            return None
        self._sampler.assign(slot, sequence)
        (token,) = self._sample(logits, slice(slot, slot + 1))
        if token == NO_TOKEN:
            self._cache.wipe(slot)
        self._cache.commit(write)
        return token

    @torch.inference_mode()
    def decode(self, rows: int) -> list[int]:
        """Return the next token id of each of the slots 0..rows-1; negative: it has none."""
        tokens = self._sample(self._decode(rows), slice(0, rows))
        for slot, token in enumerate(tokens):
            if token == NO_TOKEN:
                self._cache.wipe(slot)
        return tokens

    @torch.inference_mode()
    def move(self, source: int, target: int) -> None:
        """Copy a slot into another one."""
        self._cache.move(source, target)
        self._sampler.move(source, target)
        self._last_tokens[target] = self._last_tokens[source]

    @torch.inference_mode()
    def release(self) -> None:
        """Free the last slot."""
        self._cache.release()

    def logprobs(self, slot: int) -> TokenLogprobs | None:
        """Return the logprobs of the token that the slot got last; None: it asked for none."""
        return self._sampler.logprobs(slot)

    @torch.inference_mode()
    def keep(self, keep: Keep) -> None:
        """Keep the beginning of a slot for sequences that reuse it."""
        self._cache.keep(keep)

    def forget(self, key: int) -> None:
        """Let go of what was kept."""
        self._cache.forget(key)

    def reset(self) -> None:
        """Free every slot, what was kept and the cache's memory."""
        self._cache.reset()

    def _decode(self, rows: int) -> torch.Tensor:
        write = self._cache.begin_decode(rows)
        return self._forward.tokens(self._last_tokens[:rows, None], write, self._cache)

    def _sample(self, logits: torch.Tensor, rows: slice) -> list[int]:
        tokens = self._sampler.sample(logits.to(self._sampling_device), rows)
        self._last_tokens[rows] = tokens.to(self._device)
        return cast("list[int]", tokens.tolist())  # pyright: ignore[reportUnknownMemberType]

    def _probe(self) -> int:
        """Run two tokens through every layer; return the bytes that a token takes."""
        with self._refusing_faults():
            self.prefill(0, _whole_prompt(range(1)))
            self.decode(1)
        layers, bytes_per_token = self._cache.layer_count, self._cache.bytes_per_token
        self.reset()
        if layers != self._model.config.num_hidden_layers:
            msg = f"{type(self._model).__name__} keeps keys and values for {layers} layers only"
            raise ModelNotSupported(msg)
        return bytes_per_token

    @torch.inference_mode()
    def _rows_agree(self, rows: int, longest: int) -> bool:
        """Whether a long and a short row, decoded together, are what each is without a cache."""
        vocabulary = cast("Any", self._model.get_input_embeddings()).num_embeddings
        token_ids = [i * vocabulary // (_LONG + 1) for i in range(1, _LONG + 1)]
        prompts = [token_ids[:longest], token_ids[-_SHORT:][:longest]][:rows]
        with self._refusing_faults():
            for slot in range(rows):
                self.prefill(slot, _whole_prompt(prompts[0]))
            # The short row's slot keeps what the long one wrote, which must stay out of sight.
            for slot in range(1, rows):
                self.release()
                self.prefill(slot, _whole_prompt(prompts[slot]))
            last_tokens = self._last_tokens[:rows, None].clone()
            together = self._decode(rows)
            whole = [
                torch.cat([torch.tensor(prompt, device=self._device), token])[None]
                for prompt, token in zip(prompts, last_tokens, strict=True)
            ]
            alone = torch.cat([self._forward.uncached(input_ids) for input_ids in whole])
        self.reset()
        alone = _centred(alone)
        difference = (_centred(together) - alone).square().sum(dim=-1)
        spread = alone.square().sum(dim=-1)
        return bool((difference <= _TOLERANCE**2 * spread).all())

    @contextmanager
    def _refusing_faults(self) -> Generator[None]:
        """Turn what a model class raises on this engine into a refusal."""
        try:
            yield
        except _PROBE_FAULTS as fault:
            msg = f"{type(self._model).__name__} does not run on this engine: {fault}"
            raise ModelNotSupported(msg) from fault


def _whole_prompt(token_ids: Iterable[int]) -> Chunk:
    params = SamplingParams(max_tokens=2, seed=0, temperature=0)
    sequence = Sequence("probe", 0, tuple(token_ids), params)
    return Chunk(sequence, 0, sequence.length)


def _centred(logits: torch.Tensor) -> torch.Tensor:
    """Return logits without what softmax takes out again, in float32."""
    logits = logits.float()
    return logits - logits.mean(dim=-1, keepdim=True)
