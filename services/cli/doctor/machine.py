"""What this machine has: processor, memory, disk, GPU.

Owns where an operating system tells of them. Every function is one finding of `llmzoo doctor`.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from services.cli.doctor.check import Check, Status

_GB = 1e9
_LITTLE_MEMORY_GB = 2.0
_LITTLE_DISK_GB = 5.0
_NO_DISK_GB = 0.5
_TOOL_SECONDS = 10.0
# What makes plain PyTorch fast on a CPU; in order of age.
_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")


def processor() -> Check:
    """Find the cores that this process may use, and the kernels they have."""
    features = cpu_features()
    cores = usable_cores()
    text = f"{cores} cores, {platform.machine()}, {' '.join(features) or 'features unknown'}"
    if platform.machine() in {"x86_64", "AMD64"} and features and "avx2" not in features:
        return Check("processor", Status.WARN, text, "without AVX2 models are very slow")
    return Check("processor", Status.OK, text)


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


def memory(root: Path = Path("/")) -> Check:
    """Find the memory of the machine, or of the container if that has less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = container_limit(root)
    size = min(total, limit or total) / _GB
    text = f"{size:.1f} GB" + (" (limit of the container)" if limit and limit < total else "")
    available = available_memory(root)
    if available is not None:
        text += f", {min(available / _GB, size):.1f} GB available"
    if size < _LITTLE_MEMORY_GB:
        return Check("memory", Status.WARN, text, "the demo model needs about 2 GB")
    return Check("memory", Status.OK, text)


def container_limit(root: Path) -> int | None:
    """Return the bytes that the control group allows; None without a limit."""
    for name in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = (root / name).read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdigit() else None
    return None


def available_memory(root: Path) -> int | None:
    """Return the bytes that the kernel would give without swapping; None if it does not tell."""
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    kilobytes = next(found, None)
    return None if kilobytes is None else int(kilobytes) * 1024


def folder(name: str, path: Path, variable: str) -> Check:
    """Find whether `path` can be written, and the space there. Makes nothing."""
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Check(name, Status.FAIL, f"{path} cannot be written", f"set {variable}")
    free = shutil.disk_usage(there).free / _GB
    text = f"{path}, {free:.1f} GB free"
    if free < _NO_DISK_GB:
        return Check(name, Status.FAIL, text, f"free some space, or set {variable}")
    if free < _LITTLE_DISK_GB:
        return Check(name, Status.WARN, text, f"a model may not fit; free some, or set {variable}")
    return Check(name, Status.OK, text)


def gpu(tool: str = "nvidia-smi") -> Check:
    """Find NVIDIA GPUs by their own tool; having none is well."""
    binary = shutil.which(tool)
    if binary is None:
        return Check("GPU", Status.OK, f"no {tool} on PATH; models run on the processor")
    query = [binary, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(  # noqa: S603 - the vendor's tool, found on PATH
            query, capture_output=True, text=True, timeout=_TOOL_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return Check("GPU", Status.WARN, f"{binary} fails", "check the driver by running it")
    return Check("GPU", Status.OK, "; ".join(answer.split("\n")).strip("; ") or "none")
