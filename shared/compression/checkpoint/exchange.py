"""Two folders change names in one step, so that at each moment there is a whole one.

Owns the call to Linux's renameat2, which Python does not have.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def exchange(first: Path, second: Path) -> None:
    """Swap the names of two paths on one file system.

    Where the system cannot do it in one step, it takes two renames: a kill just between them leaves
    the new one whole under its first name and nothing under the second.

    Raises:
        OSError: it refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    renameat2 = getattr(libc, "renameat2", None)
    if renameat2 is not None:
        names = (os.fsencode(first), os.fsencode(second))
        if not renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE):
            return
        code = ctypes.get_errno()
        if code not in {errno.ENOSYS, errno.EINVAL}:
            raise OSError(code, os.strerror(code), str(second))
    in_two_steps(first, second)


def in_two_steps(first: Path, second: Path) -> None:
    """Swap two names as any file system can; raises OSError."""
    aside = first.with_name(f"{first.name}.replaced")
    second.rename(aside)
    first.rename(second)
    aside.rename(first)
