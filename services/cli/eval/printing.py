"""Lines on stdout and stderr. Names and warnings are other people's: no terminal obeys them.

What a terminal's encoding does not have is shown escaped.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from services.cli.chat.text import for_terminal


def print_lines(lines: Iterable[str]) -> None:
    """Print what a command is for."""
    for line in lines:
        print(_shown(line))


def _shown(line: str) -> str:
    encoding = sys.stdout.encoding or "utf-8"
    return for_terminal(line).encode(encoding, "backslashreplace").decode(encoding)


def remark(*lines: str) -> None:
    """Print what is said beside it."""
    for line in lines:
        print(for_terminal(line), file=sys.stderr)
