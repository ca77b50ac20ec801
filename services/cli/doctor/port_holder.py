"""Which process listens on a TCP port, as far as Linux lets this user see it.

Owns the reading of /proc. Elsewhere, and for other users' processes, nobody is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LISTENS = "0A"
_ADDRESS, _STATE, _INODE = 1, 3, 9  # columns of /proc/net/tcp


@dataclass(frozen=True, slots=True)
class Holder:
    """A process, and its command's name."""

    pid: int
    name: str


def holder(port: int, root: Path = Path("/")) -> Holder | None:
    """Return who listens on `port`; None: nobody, or it is not for this user to see."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(port, root)}
    if not wanted:
        return None
    for process in (root / "proc").glob("[0-9]*"):
        if any(str(link) in wanted for link in _descriptors(process)):
            return Holder(int(process.name), _name(process))
    return None


def _inodes(port: int, root: Path) -> Iterator[str]:
    for table in ("proc/net/tcp", "proc/net/tcp6"):
        try:
            lines = (root / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            cells = line.split()
            if cells[_STATE] == _LISTENS and int(cells[_ADDRESS].rpartition(":")[2], 16) == port:
                yield cells[_INODE]


def _descriptors(process: Path) -> Iterator[Path]:
    try:
        for descriptor in (process / "fd").iterdir():
            yield descriptor.readlink()
    except OSError:  # it has ended, or belongs to somebody else
        return


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text(errors="replace").strip()
    except OSError:
        return "a process that has ended"
