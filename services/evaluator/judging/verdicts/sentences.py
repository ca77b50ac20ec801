"""Sentences of a text, by place. Knows no word."""

from __future__ import annotations

import re
from bisect import bisect_right

_SENTENCE = re.compile(r"[^\n]+?(?:[!?。]+[\"')\]]*|\.+[\"')\]]*(?=\s|$)|$)", re.MULTILINE)


class Sentences:
    """The sentences of one text; a line's end ends one."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.spans = [found.span() for found in _SENTENCE.finditer(text) if found[0].strip(" .")]
        self._starts = [start for start, _ in self.spans]

    def around(self, start: int, end: int) -> tuple[str, str]:
        """Return what stands before `start` and after `end` in their sentences."""
        place = bisect_right(self._starts, start) - 1
        begin = self.spans[place][0] if place >= 0 else 0
        last = bisect_right(self._starts, max(start, end - 1)) - 1
        stop = self.spans[last][1] if last >= 0 else len(self.text)
        return self.text[begin:start], self.text[end : max(end, stop)]

    def place(self, position: int) -> int:
        """Return which sentence `position` is in, from 0."""
        return max(0, bisect_right(self._starts, position) - 1)

    def alone(self, start: int, end: int) -> bool:
        """Return whether nothing but signs stands beside `start` to `end` on their lines."""
        line_start = self.text.rfind("\n", 0, start) + 1
        line_end = self.text.find("\n", end)
        beside = self.text[line_start:start] + self.text[end : line_end if line_end >= 0 else None]
        return not any(character.isalnum() for character in beside)
