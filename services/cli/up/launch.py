"""Becomes another program that dies with its parent: `launch.py PARENT_PID SIGNAL COMMAND...`.

Run as a script in an interpreter without site packages (about 15 ms), so that the supervisor
needs no code between fork and exec, which is unsafe beside threads. Linux only. Owns the parent
death signal; knows nothing of what it starts.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
CANNOT_START = 127


def main(arguments: list[str]) -> int:
    """Ask the kernel for `SIGNAL` when the parent dies, then become `COMMAND`."""
    parent, signal_number, *command = arguments
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
    if os.getppid() != int(parent):  # it died before we asked
        return CANNOT_START
    try:
        os.execvp(command[0], command)  # noqa: S606 - the supervisor's own command, no shell
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
        return CANNOT_START


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
