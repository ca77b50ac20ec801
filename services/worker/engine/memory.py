"""How many tokens of KV cache the free memory holds.

Owns the reading of free memory per device. Knows no model.
"""

from __future__ import annotations

import gc

import psutil
import torch

from shared.machine_memory import memory_left

# What is left goes to activations, which no budget counts, and on the host to other services.
_SHARE_OF_HOST = 0.5
_SHARE_OF_DEVICE = 0.8
# Of an equal part of a GPU; the rest is CUDA's own, which torch does not count.
_OF_PART = 0.95


def usable_bytes(device: torch.device) -> int:
    """Return the bytes that the KV cache may take on the device."""
    return int(free_bytes(device) * kv_share(device))


def free_bytes(device: torch.device) -> int:
    """Return what is free on the device, or on this host and within its container."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        part = int(total * torch.cuda.get_per_process_memory_fraction(device))
        return max(0, min(free, part - torch.cuda.memory_reserved(device)))
    host, left = psutil.virtual_memory().available, memory_left()
    return host if left is None else min(host, left)


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
