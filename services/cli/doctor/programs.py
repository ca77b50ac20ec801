"""Running another program for what it tells, within a bounded time.

Owns the process and its end. Knows no program.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

PROGRAM_SECONDS = 1.3
"""What a program may take; less than the whole examination."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a program said, and its exit code; None: it did not end in time and was killed."""

    code: int | None
    out: str
    err: str

    @property
    def well(self) -> bool:
        """Return whether it ended by itself, with exit code 0."""
        return self.code == 0

    @property
    def complaint(self) -> str:
        """Return the last line of what it complained of."""
        if self.code is None:
            return f"no answer within {PROGRAM_SECONDS:g} seconds"
        lines = (self.err.strip() or self.out.strip() or "it says nothing").splitlines()
        return lines[-1].strip()


def ask(program: str, arguments: Sequence[str], seconds: float = PROGRAM_SECONDS) -> Told | None:
    """Return what `program` (a name on PATH, or a path) tells; None: there is no such program."""
    binary = shutil.which(program)
    if binary is None:
        return None
    try:
        process = subprocess.Popen(  # noqa: S603 - a known tool, found on PATH
            [binary, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as fault:
        return Told(127, "", str(fault))
    with process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):  # its children hold our pipes too
                os.killpg(process.pid, signal.SIGKILL)
            return Told(None, "", "")
    return Told(process.returncode, out, err)
