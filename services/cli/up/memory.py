"""Whether a second process as large as one that runs fits into this machine's memory.

Owns the reading of what Linux tells. Elsewhere nobody is asked, and the answer is yes.
"""

from __future__ import annotations

import os
from pathlib import Path

from shared.machine_memory import free_memory

_MARGIN = 1.1
"""A process that starts takes more for a while than one that runs."""


def has_room_beside(pid: int, root: Path = Path("/")) -> bool:
    """Return whether as much memory is free as process `pid` holds, and a little more."""
    resident, free = _resident(pid, root), free_memory(root)
    return resident is None or free is None or resident * _MARGIN < free


def _resident(pid: int, root: Path) -> int | None:
    try:
        pages = (root / f"proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
