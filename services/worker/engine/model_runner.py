"""The model runner: one step of a transformers model, from the scheduler's plan to tokens.

Owns model, cache and sampler, and what moves between them and the host. Knows no policy: which
rows there are and when they leave is decided by the scheduler.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog
import torch
from transformers import PreTrainedModel

from services.worker.engine.drafts import accepted
from services.worker.engine.forward import Forward, make_forward
from services.worker.engine.kv_cache import KVCache
from services.worker.engine.memory import usable_bytes
from services.worker.engine.out_of_memory import OUT_OF_MEMORY, is_out_of_memory
from services.worker.engine.sampler import Sampler
from services.worker.engine.scheduler import Chunk
from services.worker.engine.sequence import NO_TOKEN, Drawn, Sequence
from services.worker.engine.slots import Group, RowOp
from services.worker.engine.step import make_step
from services.worker.engine.support import check_supported, has_own_attention
from services.worker.engine.trial import check_rows_agree, find_layout
from shared.errors import ConfigurationError

log = structlog.get_logger(__name__)

# What torch and transformers raise for one bad input; anything else is a fault of the engine.
_CHUNK_FAULTS = (RuntimeError, ValueError, IndexError, ArithmeticError)
# Beside what sequences hold, an eighth as much may lie idle.
_IDLE_SHARE = 8

_Part = tuple[tuple[Sequence, ...], torch.Tensor]


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
        deterministic: bool = False,
    ) -> None:
        """Take a model that is loaded, on its device, in its dtype; try it.

        Args:
            model: it is changed and belongs to the runner from now on.
            max_num_seqs: how many sequences may decode together.
            max_model_len: prompt and answer together, in tokens.
            eos_token_ids: what ends a sequence.
            kv_cache_tokens: what all sequences may hold; 0: from the memory found.
            deterministic: every step decodes `max_num_seqs` rows, and nothing beside them.

        Raises:
            ModelNotSupported: the engine cannot run this architecture.
            ConfigurationError: the memory found holds no KV cache.
        """
        model = model.eval()
        check_supported(model, max_model_len, deterministic=deterministic)
        self._device = model.device
        # Sampling needs float64, which Apple's devices do not have.
        self._sampling_device = torch.device("cpu") if model.device.type == "mps" else model.device
        self._eos_token_ids = eos_token_ids
        self._fixed_rows = max_num_seqs if deterministic else 0
        self._forward: Forward = make_forward(model)
        self._sampler = Sampler(self._sampling_device, eos_token_ids)
        layout = find_layout(model, self._forward)
        self._own_attention = has_own_attention(model)
        if self._own_attention:
            check_rows_agree(model, self._forward, layout, max_model_len)
        found = usable_bytes(self._device) // layout.token_bytes
        tokens = kv_cache_tokens or found * _IDLE_SHARE // (_IDLE_SHARE + 1)
        self.kv_cache_tokens = min(tokens, max_num_seqs * max_model_len)
        self.max_model_len = min(max_model_len, self.kv_cache_tokens)
        if self.max_model_len <= 1:
            msg = f"{tokens} tokens of KV cache are too few for any request"
            raise ConfigurationError(msg, param="LLMZOO_KV_CACHE_TOKENS")
        self._cache = KVCache(layout, self.kv_cache_tokens // _IDLE_SHARE)

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """Token ids that end a sequence."""
        return self._eos_token_ids

    @property
    def takes_drafts(self) -> bool:
        """Whether a row may take several tokens at once."""
        return not self._fixed_rows and not self._own_attention

    @property
    def cache(self) -> KVCache:
        """The rows, to be looked at."""
        return self._cache

    @torch.inference_mode()
    def apply(self, ops: Iterable[RowOp]) -> None:
        """Do to the rows what the operations say, in their order."""
        self._cache.apply(ops)

    @torch.inference_mode()
    def run(
        self, groups: tuple[Group, ...], chunks: tuple[Chunk, ...]
    ) -> dict[Sequence, list[Drawn]]:
        """Compute the groups' rows and drafts, and the chunks; see `engine.Runner`."""
        failed: dict[Sequence, Drawn] = {}
        try:
            parts = self._together(groups, chunks)
        except _CHUNK_FAULTS:
            if not chunks:
                raise
            log.warning("step_failed", chunks=len(chunks), exc_info=True)
            parts, failed = self._apart(groups, chunks)
        sequences = tuple(sequence for part, _ in parts for sequence in part)
        drawn: dict[Sequence, list[Drawn]] = {}
        if sequences:
            logits = parts[0][1] if len(parts) == 1 else torch.cat([logits for _, logits in parts])
            results = self._sampler.sample(logits.to(self._sampling_device), sequences)
            for sequence, result in zip(sequences, results, strict=True):
                drawn.setdefault(sequence, []).append(result)
            self._wipe(groups, drawn)
        counted = {each: accepted(each.draft, results) for each, results in drawn.items()}
        return counted | {sequence: [result] for sequence, result in failed.items()}

    def release(self, sequence: Sequence) -> None:
        """Forget what the sampler knows of a sequence."""
        self._sampler.release(sequence)

    def reset(self) -> None:
        """Free every row, what was kept and the cache's memory."""
        self._cache.reset()
        self._sampler.reset()

    def _together(self, groups: tuple[Group, ...], chunks: tuple[Chunk, ...]) -> list[_Part]:
        """Return who draws from which logits: of one pass, or in deterministic mode of each."""
        if not self._fixed_rows:
            return [self._pass(groups, chunks)]
        parts = [self._pass(groups, ())] if groups else []
        return parts + [self._pass((), (chunk,)) for chunk in chunks]

    def _apart(
        self, groups: tuple[Group, ...], chunks: tuple[Chunk, ...]
    ) -> tuple[list[_Part], dict[Sequence, Drawn]]:
        """Find the chunk that a pass failed for: it alone fails. What was written is again."""
        parts = [self._pass(groups, ())] if groups else []
        failed: dict[Sequence, Drawn] = {}
        for chunk in chunks:
            try:
                parts.append(self._pass((), (chunk,)))
            except torch.AcceleratorError:
                # The device's own: each step after it would fail, and no prompt is to blame.
                raise
            except _CHUNK_FAULTS as fault:
                log.exception("prefill_failed", request_id=chunk.sequence.request_id)
                error = OUT_OF_MEMORY if is_out_of_memory(fault) else ""
                failed[chunk.sequence] = Drawn(NO_TOKEN, error=error)
        return parts, failed

    def _pass(self, groups: tuple[Group, ...], chunks: tuple[Chunk, ...]) -> _Part:
        fixed = self._fixed_rows if groups else 0
        step = make_step(
            groups,
            chunks,
            self._cache,
            self._device,
            padded=lambda tokens: fixed or self._padded(tokens),
            alone=fixed > 0,
        )
        drawing = [(sequence, at) for sequence, at in step.sequences if sequence.draws]
        sequences = tuple(sequence for sequence, _ in drawing)
        wanted = [at for _, at in drawing]
        if fixed:
            # The head's product has its fixed number of rows too.
            return sequences, self._forward.logits(step, None)[wanted]
        every = len(wanted) == len(step.input_ids)
        return sequences, self._forward.logits(step, None if every else wanted)

    def _padded(self, tokens: int) -> int:
        """Return how long a line becomes: on a GPU one of few lengths, to be compiled for each."""
        return 1 << (tokens - 1).bit_length() if self._device.type == "cuda" else tokens

    def _wipe(self, groups: tuple[Group, ...], drawn: dict[Sequence, list[Drawn]]) -> None:
        """Let no row keep what gave no finite numbers, though it be of a draft alone."""
        for group in groups:
            for row, sequence in enumerate(group.sequences):
                tokens = [result.token_id for result in drawn.get(sequence, ())]
                if NO_TOKEN in tokens:
                    start = sequence.computed - 1 + tokens.index(NO_TOKEN)
                    self._cache.size_class(group.capacity).wipe(row, start)
