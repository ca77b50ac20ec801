"""Lines on stdout and stderr. Names and warnings are other people's: no terminal obeys them."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from services.cli.chat.text import for_terminal


def print_lines(lines: Iterable[str]) -> None:
    """Print what a command is for."""
    for line in lines:
        print(for_terminal(line))


def remark(*lines: str) -> None:
    """Print what is said beside it."""
    for line in lines:
        print(for_terminal(line), file=sys.stderr)
