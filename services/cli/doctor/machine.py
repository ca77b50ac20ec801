"""What this machine has: processor, memory, shared memory.

Owns where an operating system tells of them. Every function is one finding of `llmzoo doctor`.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from services.cli.doctor.check import Check, ok, warn
from shared.machine_memory import free_memory, memory_limit

_GB = 1e9
_LITTLE_MEMORY_GB = 2.0
_LITTLE_SHARED_GB = 1.0
# What makes plain PyTorch fast on a CPU; in order of age.
_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")


def processor() -> Check:
    """Find the cores that this process may use, and the kernels they have."""
    features = cpu_features()
    cores = usable_cores()
    text = f"{cores} cores, {platform.machine()}, {' '.join(features) or 'features unknown'}"
    if platform.machine() in {"x86_64", "AMD64"} and features and "avx2" not in features:
        return warn(
            "processor", f"{text}; models are very slow without AVX2", "use a newer processor"
        )
    return ok("processor", text)


def usable_cores() -> int:
    """Return the cores that the operating system lets this process run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Return the features in `cpuinfo` that matter here; none where there is no such file."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        return []
    told: set[str] = set()
    for line in lines:
        name, _, words = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            told = set(words.split())
            break
    return [feature for feature in _FEATURES if feature in told]


def memory(root: Path = Path("/"), *, for_model: bool = True) -> Check:
    """Find the memory of the machine, or of the container if that has less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = memory_limit(root)
    size = min(total, limit or total) / _GB
    text = f"{size:.1f} GB" + (" (limit of the container)" if limit and limit < total else "")
    free = free_memory(root)
    if free is not None:
        text += f", {free / _GB:.1f} GB available"
    if for_model and size < _LITTLE_MEMORY_GB:
        return warn("memory", text, "the demo model needs about 2 GB; raise the container's limit")
    return ok("memory", text)


def shared_memory(*, on_gpu: bool, place: Path = Path("/dev/shm")) -> Iterator[Check]:  # noqa: S108
    """Find the size of the shared memory, where GPUs exchange data by it."""
    if not on_gpu or not place.is_dir():
        return
    size = shutil.disk_usage(place).total
    text = f"{place} holds {size / _GB:.2f} GB"
    if size < _LITTLE_SHARED_GB * _GB:
        fix = (
            "give the container more: `shm_size: 2g` in docker-compose.yml, --shm-size=2g of docker"
        )
        yield warn("shared memory", f"{text}, little for engines on several GPUs", fix)
    else:
        yield ok("shared memory", text)
