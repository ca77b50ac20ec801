"""Text as it comes from and goes to a terminal. Knows nothing of what it says."""

from __future__ import annotations

# All control characters but tab and newline: an answer must not move the cursor, change colours
# or write to the clipboard of the terminal that shows it.
_CONTROLS = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])


def from_terminal(text: str) -> str:
    """Return `text` with a replacement character for each byte that was no UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def for_terminal(text: str) -> str:
    """Return `text` without what a terminal would obey."""
    return text.translate(_CONTROLS)
