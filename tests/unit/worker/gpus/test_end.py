"""A worker whose GPU is lost ends, also where the driver hangs in the process's own end."""

from __future__ import annotations

import signal
import subprocess
import sys

from tests.fakes.command_line import PROJECT, clean_environment

# Python has ended its threads by then, and runs nothing any more but this.
_HANGS_AT_ITS_END = """
import atexit, ctypes
from services.worker.__main__ import end_within

atexit.register(ctypes.CDLL(None).pause)
end_within(1)
"""


def test_the_kernel_ends_what_does_not_end():
    ended = subprocess.run(
        [sys.executable, "-c", _HANGS_AT_ITS_END],
        cwd=PROJECT,
        env=clean_environment(),
        timeout=60,
        check=False,
    )

    assert ended.returncode == -signal.SIGALRM
