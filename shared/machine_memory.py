"""How much memory there is for this process: what the kernel would give, and its container allows.

Owns where Linux tells of it, by control groups of version 2 and of version 1. Imports nothing, so
that the command line can ask as well as a worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# What version 1 says where there is no limit is close to this.
_NO_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True)
class _Version:
    """The names that a version of control groups gives to things."""

    mount: str
    controller: str
    limit: str
    used: str
    files: str


_VERSIONS = (
    _Version("sys/fs/cgroup", "", "memory.max", "memory.current", "inactive_file"),
    _Version(
        "sys/fs/cgroup/memory",
        "memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


def free_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that can be had here, by the kernel and the container's limit."""
    told = [size for size in (_available(root), memory_left(root)) if size is not None]
    return min(told, default=None)


def memory_limit(root: Path = Path("/")) -> int | None:
    """Return the bytes that the control group and those above it allow; None without a limit."""
    limits = [limit for limit, _ in _groups(root)]
    return min(limits, default=None)


def memory_left(root: Path = Path("/")) -> int | None:
    """Return the bytes that are left below these limits; None where nobody tells."""
    left = [limit - used for limit, used in _groups(root) if used is not None]
    return max(0, min(left)) if left else None


def _available(root: Path) -> int | None:
    """Return the bytes that the kernel would give without swapping; None if it does not tell."""
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    kilobytes = next(found, None)
    return None if kilobytes is None else int(kilobytes) * 1024


def _groups(root: Path) -> Iterator[tuple[int, int | None]]:
    """Yield limit and use of each group that has a limit, from our own upwards."""
    for version in _VERSIONS:
        mount = root / version.mount
        own = mount / _own_path(root, version.controller)
        # A container sees its own group at the mount itself, whatever path it is told.
        for group in (own, *own.parents):
            if not group.is_relative_to(mount):
                break
            limit = _number(group / version.limit)
            if limit is not None and limit < _NO_LIMIT:
                yield limit, _used(group, version)


def _own_path(root: Path, controller: str) -> str:
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path.lstrip("/")
    return ""


def _used(group: Path, version: _Version) -> int | None:
    """Return the bytes in use; files that were read are given back when memory is asked for."""
    used = _number(group / version.used)
    if used is None:
        return None
    stat = dict(line.split(" ", 1) for line in _text(group / "memory.stat").splitlines())
    return used - int(stat.get(version.files, "0"))


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdigit() else None


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
