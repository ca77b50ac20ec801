"""Whether a model fits into the memory found, told before it is loaded, and how many slots it gets.

Owns the comparison, its numbers and the advice. Knows neither torch nor where the numbers come
from: `models.footprint` counts the model's bytes, `engine.memory` those that are free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog

from services.worker.models.footprint import Footprint
from shared.errors import ModelTooLarge
from shared.settings import WorkerSettings

log = structlog.get_logger(__name__)

# A slot costs nothing while it is empty; those that are full share the KV cache.
_LEAST_SLOTS, _CPU_SLOTS, _GPU_SLOTS = 16, 64, 256
_TOKENS_A_SLOT = 1024  # which a sequence in a conversation holds
_ROUND_CONTEXT = 256
_LEAST_CONTEXT = 512  # advised; a shorter one answers nobody
_GIB, _MIB = 2**30, 2**20


@dataclass(frozen=True, slots=True)
class Memory:
    """`free` bytes; of what the weights leave of it, the KV cache may take the part `kv_share`.

    `devices` is over how many devices of this host it lies.
    """

    free: int
    kv_share: float
    devices: int = 1

    def kv_bytes(self, weights: int) -> int:
        """Return what the KV cache may take beside weights of that many bytes."""
        return int(max(0, self.free - weights) * self.kv_share)


@dataclass(frozen=True, slots=True)
class Room:
    """What a model gets: slots, and the tokens they may hold; 0: as many as prove to fit."""

    max_num_seqs: int
    kv_cache_tokens: int


def choose_memory(
    size: Footprint,
    free: Sequence[int],
    kv_share: float,
    max_model_len: int,
    settings: WorkerSettings,
) -> Memory:
    """Return the memory of the first device if the model fits there, else that of all together.

    Args:
        size: of the model.
        free: bytes on each device.
        kv_share: see `Memory`.
        max_model_len: the model's context.
        settings: a bound on the memory, and the tokens asked for.
    """
    bound = int(settings.memory_gib * _GIB) or sum(free)
    one = Memory(min(free[0], bound), kv_share)
    if len(free) == 1 or _fits(size, one, max_model_len, settings):
        return one
    return Memory(min(sum(free), bound), kv_share, len(free))


def check_memory(
    size: Footprint, memory: Memory, max_model_len: int, settings: WorkerSettings, *, on_gpu: bool
) -> Room:
    """Return what the model gets of the memory.

    Args:
        size: of the model.
        memory: found where it will run.
        max_model_len: its context, which one sequence at least must be able to fill.
        settings: how many slots and tokens are asked for, if a number is asked for.
        on_gpu: a graphics card decodes more rows in a step.

    Raises:
        ModelTooLarge: weights and one sequence do not fit; the message tells what would.
    """
    tokens = _tokens(size, memory, settings)
    context = _context(max_model_len, settings)
    if not _fits(size, memory, max_model_len, settings):
        raise ModelTooLarge(_refusal(size, memory, context))
    slots = settings.max_num_seqs or _slots(tokens, on_gpu=on_gpu)
    if tokens is not None:
        _tell(size, memory, tokens, slots, context)
    # What the runner finds free later is that of one device, and all of it.
    bounded = settings.memory_gib > 0 or memory.devices > 1
    return Room(slots, settings.kv_cache_tokens or (tokens or 0 if bounded else 0))


def _fits(size: Footprint, memory: Memory, max_model_len: int, settings: WorkerSettings) -> bool:
    tokens = _tokens(size, memory, settings)
    enough = tokens is None or tokens >= _context(max_model_len, settings)
    return memory.free > size.weights and enough


def _context(max_model_len: int, settings: WorkerSettings) -> int:
    """Return the tokens of the longest sequence."""
    return min(max_model_len, settings.kv_cache_tokens or max_model_len)


def _tokens(size: Footprint, memory: Memory, settings: WorkerSettings) -> int | None:
    """Return the tokens that the KV cache may hold; None: nobody knows how large one is."""
    each = size.kv_bytes_per_token
    if each is None:
        return None
    if settings.kv_cache_tokens:
        # The share is a caution; who names a number has decided.
        return min(settings.kv_cache_tokens, max(0, memory.free - size.weights) // each)
    return memory.kv_bytes(size.weights) // each


def _slots(tokens: int | None, *, on_gpu: bool) -> int:
    most = _GPU_SLOTS if on_gpu else _CPU_SLOTS
    return (
        _LEAST_SLOTS if tokens is None else max(_LEAST_SLOTS, min(most, tokens // _TOKENS_A_SLOT))
    )


def _tell(size: Footprint, memory: Memory, tokens: int, slots: int, context: int) -> None:
    """Log the numbers; and that not all slots can be full at once, where they cannot."""
    numbers = {
        "weights": as_text(size.weights),
        "free": as_text(memory.free),
        "devices": memory.devices,
        "kv_cache_tokens": tokens,
        "max_num_seqs": slots,
        "max_model_len": context,
    }
    if tokens >= context * slots:
        log.info("memory", **numbers)
        return
    log.info(
        "memory",
        **numbers,
        note="not every slot can hold a whole context at the same time; "
        f"LLMZOO_MAX_NUM_SEQS={tokens // context} or LLMZOO_MAX_MODEL_LEN={tokens // slots} could",
    )


def _refusal(size: Footprint, memory: Memory, context: int) -> str:
    each = size.kv_bytes_per_token
    needs = f"{as_text(size.weights)} for its weights"
    if each is not None:
        needs += f" and {as_text(each * context)} for one sequence of {context} tokens"
    share = f"the KV cache may take {memory.kv_share:.0%} of what the weights leave"
    advice = " or ".join(_advice(size, memory, context))
    cure = f"What fits: {advice}." if advice else "Neither fewer bits nor a shorter context fits."
    return f"The model needs {needs}. {as_text(memory.free)} of memory are free; {share}. {cure}"


def _advice(size: Footprint, memory: Memory, context: int) -> Iterator[str]:
    """Yield what would fit: a shorter context, fewer bits, or else both."""
    each = size.kv_bytes_per_token or 0

    def longest(weights: int) -> int:
        """Return the tokens of the longest sequence beside such weights."""
        if memory.free <= weights:
            return 0
        room = memory.kv_bytes(weights) // each if each else context
        return context if room >= context else room // _ROUND_CONTEXT * _ROUND_CONTEXT

    if longest(size.weights) >= _LEAST_CONTEXT:
        yield f"LLMZOO_MAX_MODEL_LEN={longest(size.weights)}"
    whole = [option for option, weights in size.compressed.items() if longest(weights) == context]
    yield from whole
    if not whole:
        for option, weights in size.compressed.items():
            if longest(weights) >= _LEAST_CONTEXT:
                yield f"{option} with LLMZOO_MAX_MODEL_LEN={longest(weights)}"


def as_text(size: int) -> str:
    """Return bytes as a person reads them."""
    return f"{size / _GIB:.1f} GiB" if size >= _GIB / 10 else f"{size / _MIB:.1f} MiB"
