"""Becomes another program, tied to its parent: `launch.py PARENT_PID SIGNAL DESCRIPTOR COMMAND...`.

Run as a script in an interpreter without site packages (about 15 ms), so that the supervisor
needs no code between fork and exec, which is unsafe beside threads. Owns the parent death signal
(Linux only) and the handing down of a listening socket (`-`: none); knows nothing of what it
starts.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
CANNOT_START = 127
# systemd's convention: the first socket that is handed down.
FIRST_DESCRIPTOR = 3


def main(arguments: list[str]) -> int:
    """Ask the kernel for `SIGNAL` when the parent dies, then become `COMMAND`."""
    parent, signal_number, descriptor, *command = arguments
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
    if os.getppid() != int(parent):  # it died before we asked
        return CANNOT_START
    environment = dict(os.environ)  # noqa: TID251 - handed on as it is
    if descriptor != "-":
        hand_down(int(descriptor))
        environment |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606 - the supervisor's own command, no shell
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
        return CANNOT_START


def hand_down(descriptor: int) -> None:
    """Put the socket where the program will look for it."""
    if descriptor == FIRST_DESCRIPTOR:
        os.set_inheritable(descriptor, True)
    else:
        os.dup2(descriptor, FIRST_DESCRIPTOR)
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
