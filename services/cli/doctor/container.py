"""Whether this is a container, and what for.

Owns the signs of it.
"""

from __future__ import annotations

import re
from pathlib import Path

_SERVICE = re.compile(rb"services\.(controller|worker|webui|evaluator)\0")


def is_container(root: Path = Path("/")) -> bool:
    """Return whether this runs in a container of Docker, Podman or Kubernetes."""
    if (root / ".dockerenv").exists() or (root / "run/.containerenv").exists():
        return True
    try:
        groups = (root / "proc/1/cgroup").read_text(errors="replace")
    except OSError:
        return False
    return bool(re.search(r"docker|kubepods|containerd|libpod", groups))


def service_of_container(root: Path = Path("/")) -> str:
    """Return which service this container was started for; empty: none of ours."""
    try:
        command = (root / "proc/1/cmdline").read_bytes()
    except OSError:
        return ""
    found = _SERVICE.search(command)
    return found[1].decode() if found else ""


def worker_runs(root: Path = Path("/")) -> bool:
    """Return whether a worker of ours runs, as far as its command can be seen from here."""
    for process in (root / "proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        found = _SERVICE.search(command)
        if found and found[1] == b"worker":
            return True
    return False
