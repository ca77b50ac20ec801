"""Whether a model fits into the memory that a worker here would find.

Owns the comparison and its advice. A worker counts exactly before it loads; this is an estimate
for those who ask before they start one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from services.cli.doctor.check import Check, fail, ok, warn
from services.cli.doctor.container import worker_runs
from services.cli.doctor.machine import cpu_features
from services.cli.doctor.model_size import Numbers, Size
from services.cli.doctor.nvidia import Nvidia
from services.cli.doctor.torch_build import TorchBuild
from shared.machine_memory import free_memory, memory_limit
from shared.settings import WorkerSettings

_GIB = 1 << 30
# Of what the weights leave, the KV cache may take so much; as a worker has it.
_HOST_SHARE, _GPU_SHARE = 0.5, 0.8
_DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
_BFLOAT16_KERNELS = {"avx512_bf16", "amx_bf16", "bf16"}
_OF_CONTAINER = "of the container's memory"
_ROUND_CONTEXT, _LEAST_CONTEXT = 256, 512


@dataclass(frozen=True, slots=True)
class Room:
    """The memory that a model gets: bytes now, bytes at best, the KV cache's part, and where."""

    free: int
    total: int
    kv_share: float
    place: str

    def holds(self, size: Size, *, now: bool) -> bool:
        """Return whether weights and one sequence fit."""
        left = (self.free if now else self.total) - size.weights
        return left > 0 and left * self.kv_share >= size.sequence


def room_for(
    settings: WorkerSettings,
    seen: Nvidia | None,
    build: TorchBuild | None,
    root: Path = Path("/"),
) -> Room:
    """Return the memory of the GPUs if a model would run there, else that of this machine."""
    on_gpu = build is not None and build.cuda is not None and settings.device in {"auto", "cuda"}
    if on_gpu and seen is not None and seen.gpus and all(each.memory for each in seen.gpus):
        # A model that does not fit the first GPU is laid over all of them.
        total = sum(each.memory for each in seen.gpus)
        free, share, place = sum(each.free for each in seen.gpus), _GPU_SHARE, "of GPU memory"
    else:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        total = min(machine, memory_limit(root) or machine)
        free, share = free_memory(root) or total, _HOST_SHARE
        place = "of memory" if total == machine else _OF_CONTAINER
    if worker_runs(root):
        free = total  # what it takes, it takes for this model
    bound = int(settings.memory_gib * _GIB) or total
    return Room(min(free, bound), min(total, bound), share, place)


def numbers_for(settings: WorkerSettings, room: Room) -> Numbers:
    """Return how a worker would hold a model's numbers in `room`."""
    bits = 8 if settings.load_8bit else 4 if settings.load_4bit else None
    size = _DTYPE_BYTES.get(settings.dtype)
    if size is None:
        on_gpu = room.kv_share == _GPU_SHARE
        size = 2 if on_gpu or not _BFLOAT16_KERNELS.isdisjoint(cpu_features()) else 4
    return Numbers(size, bits)


def fits(name: str, size: Size, room: Room, *, told_by: Literal["files", "name"]) -> Check:
    """Find whether a model of this size fits into `room`."""
    told = f"{name} takes about {_text(size.weights)}{' by its name' if told_by == 'name' else ''}"
    if size.sequence:
        told += f", and {_text(size.sequence)} for a sequence of {size.context} tokens"
    told += f"; {_text(room.free)} {room.place} can be had"
    if room.holds(size, now=True):
        return ok("model's memory", told)
    if room.holds(size, now=False):
        fix = f"end what takes the rest of {_text(room.total)}, or {_advice(size, room)}"
        return warn("model's memory", f"{told}: too little now", fix)
    return fail("model's memory", f"{told}: it does not fit", _advice(size, room))


def _advice(size: Size, room: Room) -> str:
    """Return what would fit, as far as that can be told."""
    ways = ["compress it with --load-4bit (LLMZOO_LOAD_4BIT=true)", "take a smaller model"]
    if room.place == _OF_CONTAINER:
        ways.append("raise the container's memory limit")
    if size.sequence and room.free > size.weights:
        most = (room.free - size.weights) * room.kv_share * size.context / size.sequence
        rounded = int(most) // _ROUND_CONTEXT * _ROUND_CONTEXT
        if rounded >= _LEAST_CONTEXT:
            ways.insert(0, f"set LLMZOO_MAX_MODEL_LEN={rounded}")
    return ", or ".join(ways)


def _text(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"
