"""What is installed here beside torch: the operating system, Python.

Every function is one finding of `llmzoo doctor`.
"""

from __future__ import annotations

import platform
import sys

from services.cli.doctor.check import Check, fail, ok

_OLDEST_PYTHON = (3, 11)


def system() -> Check:
    """Tell the operating system."""
    return ok("system", platform.platform())


def python(version: tuple[int, ...] = sys.version_info[:3]) -> Check:
    """Find whether this Python is new enough."""
    text = f"{'.'.join(map(str, version))} ({sys.executable})"
    if version < _OLDEST_PYTHON:
        wanted = ".".join(map(str, _OLDEST_PYTHON))
        return fail("Python", f"{text} is too old", f"use Python {wanted} or newer")
    return ok("Python", text)
