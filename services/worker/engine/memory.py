"""How many tokens of KV cache the free memory holds.

Owns the reading of free memory, per device and per container. Knows no model.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

# What is left goes to activations, which no budget counts, and on the host to other services.
_SHARE_OF_HOST = 0.5
_SHARE_OF_DEVICE = 0.8
# Of an equal part of a GPU; the rest is CUDA's own, which torch does not count.
_OF_PART = 0.95

_CGROUP = Path("/sys/fs/cgroup")


class _Names(NamedTuple):
    """What one version of cgroups calls the numbers of a container's memory."""

    limit: str
    used: str
    stat: str
    given_up: str


_CGROUP_2 = _Names("memory.max", "memory.current", "memory.stat", "inactive_file")
_CGROUP_1 = _Names(
    "memory/memory.limit_in_bytes",
    "memory/memory.usage_in_bytes",
    "memory/memory.stat",
    "total_inactive_file",
)


def usable_bytes(device: torch.device) -> int:
    """Return the bytes that the KV cache may take on the device."""
    return int(free_bytes(device) * kv_share(device))


def free_bytes(device: torch.device) -> int:
    """Return what is free on the device, or on this host and within its container."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        part = int(total * torch.cuda.get_per_process_memory_fraction(device))
        return max(0, min(free, part - torch.cuda.memory_reserved(device)))
    return container_bytes(_CGROUP, psutil.virtual_memory().available)


def bound_to_part(device: torch.device, workers: int) -> None:
    """Let this process have no more of each GPU than one of so many workers that share it."""
    if device.type == "cuda" and workers > 1:
        for index in range(torch.cuda.device_count()):
            torch.cuda.set_per_process_memory_fraction(  # pyright: ignore[reportUnknownMemberType]
                _OF_PART / workers, index
            )


def free_of_each(device: torch.device) -> list[int]:
    """Return what is free on the device and on the others of its kind; it is the first."""
    if device.type != "cuda":
        return [free_bytes(device)]
    count = torch.cuda.device_count()
    return [free_bytes(torch.device("cuda", index)) for index in range(count)]


def kv_share(device: torch.device) -> float:
    """Return the part of what is free beside the weights that the KV cache may take."""
    return _SHARE_OF_DEVICE if device.type == "cuda" else _SHARE_OF_HOST


def free_cached(device: torch.device) -> None:
    """Give back what torch has cached and nobody uses, so that the next request finds it whole."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def container_bytes(cgroup: Path, default: int) -> int:
    """Return what is left below the container's own limit (cgroup v2 or v1), else `default`.

    Files that were read, as a model's that has just come, are given up when memory is asked for.
    """
    for names in (_CGROUP_2, _CGROUP_1):
        try:
            limit = (cgroup / names.limit).read_text().strip()
            used = (cgroup / names.used).read_text().strip()
            stat = (cgroup / names.stat).read_text().split()
        except OSError:
            continue
        if limit == "max":
            return default
        given_up = dict(zip(stat[::2], stat[1::2], strict=False)).get(names.given_up, "0")
        # Version 1 writes a number beyond all memory for no limit.
        return min(default, max(0, int(limit) - int(used) + int(given_up)))
    return default
