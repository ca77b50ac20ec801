"""A model is tried before it is served: whether the engine's way of running it is the model's own.

Owns the trial sequences, what is demanded of their results, and the layout that they show.
"""

from __future__ import annotations

from collections.abc import Generator
from collections.abc import Sequence as ReadOnlySequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from services.worker.engine.forward import Forward
from services.worker.engine.kv_cache import KVCache
from services.worker.engine.layer_attention import LayerSegment
from services.worker.engine.layout import Kind, Layout
from services.worker.engine.rows import Rows
from services.worker.engine.scheduler import Chunk
from services.worker.engine.segments import ChunkSegment
from services.worker.engine.sequence import SamplingParams, Sequence
from services.worker.engine.slots import Join, Slots
from services.worker.engine.step import Step, make_step
from shared.errors import ModelNotSupported

# What a model class raises that does not take our cache, mask or arguments.
_FAULTS = (
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


class _FirstToken(ChunkSegment):
    """A prompt of one token, by which the layers show what they keep."""

    def __init__(self) -> None:
        super().__init__(Rows(Layout(()), 1), 0, 1, 0)
        self.found: dict[int, tuple[Kind, Kind]] = {}

    def layer(
        self,
        layer: int,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        window: int | None = None,
        groups: int = 1,
    ) -> LayerSegment:
        kinds = self.found[layer] = Kind.of(key), Kind.of(value)
        self._rows = Rows(Layout([kinds]), 1)
        return super().layer(0, key, value, window=window, groups=groups)


@torch.inference_mode()
def find_layout(model: PreTrainedModel, forward: Forward) -> Layout:
    """Run one token through every layer; return the layout of what they keep.

    Raises:
        ModelNotSupported: the model does not run, or not every layer has keys and values.
    """
    segment = _FirstToken()
    first = torch.zeros(1, dtype=torch.int64, device=model.device)
    with _refusing_faults(model):
        forward.logits(Step((), first, first, (segment,)), [0])
    found = segment.found
    if found.keys() != set(range(model.config.num_hidden_layers)):
        msg = f"{type(model).__name__} keeps keys and values for {len(found)} layers only"
        raise ModelNotSupported(msg)
    return Layout(found[index] for index in sorted(found))


@torch.inference_mode()
def check_rows_agree(
    model: PreTrainedModel, forward: Forward, layout: Layout, max_model_len: int
) -> None:
    """Decode a long and a short row together: each must be what it is without a cache.

    Raises:
        ModelNotSupported: it is not.
    """
    vocabulary = cast("Any", model.get_input_embeddings()).num_embeddings
    token_ids = tuple(i * vocabulary // (_LONG + 1) for i in range(1, _LONG + 1))
    long, short = (ids[: max_model_len - 1] for ids in (token_ids, token_ids[-_SHORT:]))
    with _refusing_faults(model):
        together, rows = _decode_together([long, long, short], forward, layout, model.device)
        wholes = [torch.tensor([row], device=model.device) for row in rows]
        outputs = [model(input_ids=ids, use_cache=False) for ids in wholes]
    alone = _centred(torch.cat([output.logits[:, -1] for output in outputs]))
    difference = (_centred(together) - alone).square().sum(dim=-1)
    spread = alone.square().sum(dim=-1)
    if not bool((difference <= _TOLERANCE**2 * spread).all()):
        msg = (
            f"{type(model).__name__} cannot be served: "
            "its own attention does not work with rows of different lengths"
        )
        raise ModelNotSupported(msg)


def _decode_together(
    prompts: ReadOnlySequence[tuple[int, ...]],
    forward: Forward,
    layout: Layout,
    device: torch.device,
) -> tuple[torch.Tensor, list[list[int]]]:
    """Return the logits of the first and the last row after a decoded token, and their tokens.

    The last row lies where another was that is gone; what that wrote must stay out of sight.
    """
    cache, slots = KVCache(layout), Slots(_LONG + 1)
    sequences = [_sequence(choice, prompt) for choice, prompt in enumerate(prompts)]
    first, gone, last = sequences
    for sequence in sequences:
        logits = _prefill(sequence, forward, cache, device)
        if sequence is last:
            cache.apply(slots.leave(gone))
        place = slots.take(sequence, sequence.length + 1)
        cache.apply([Join(sequence.key, place, sequence.length)])
        sequence.output_ids.append(int(logits.argmax()))
    for sequence in (first, last):
        sequence.computed = sequence.length
    logits = forward.logits(make_step(slots.groups(), (), cache, device), None)
    return logits, [list(sequence.token_ids) for sequence in (first, last)]


def _prefill(
    sequence: Sequence, forward: Forward, cache: KVCache, device: torch.device
) -> torch.Tensor:
    sequence.computed = sequence.length
    chunk = Chunk(sequence, 0, sequence.length, sequence.length)
    return forward.logits(make_step((), (chunk,), cache, device), [sequence.length - 1])


def _sequence(choice: int, prompt: tuple[int, ...]) -> Sequence:
    return Sequence("trial", choice, prompt, SamplingParams(max_tokens=2, seed=0, temperature=0))


@contextmanager
def _refusing_faults(model: PreTrainedModel) -> Generator[None]:
    """Turn what a model class raises on this engine into a refusal."""
    try:
        yield
    except _FAULTS as fault:
        msg = f"{type(model).__name__} does not run on this engine: {fault}"
        raise ModelNotSupported(msg) from fault


def _centred(logits: torch.Tensor) -> torch.Tensor:
    """Return logits without what softmax takes out again, in float32."""
    logits = logits.float()
    return logits - logits.mean(dim=-1, keepdim=True)
