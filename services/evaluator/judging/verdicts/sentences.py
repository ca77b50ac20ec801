"""Sentences of a text, by place. Knows no word."""

from __future__ import annotations

import re
from bisect import bisect_right

_SENTENCE = re.compile(
    r"[^\n]+?(?:[!?。]+[\"')\]]*|(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)\.+[\"')\]]*(?=\s|$)|$)",
    re.MULTILINE,
)

_NEAR = 500
"""Characters to either side that are looked at: many places of one endless sentence are asked for."""


class Sentences:
    """The sentences of one text; a line's end ends one."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.spans = [found.span() for found in _SENTENCE.finditer(text) if found[0].strip(" .")]
        self._starts = [start for start, _ in self.spans]

    def around(self, start: int, end: int) -> tuple[str, str]:
        """Return what stands close before `start` and after `end` in their sentences."""
        place = bisect_right(self._starts, start) - 1
        begin = self.spans[place][0] if place >= 0 else 0
        last = bisect_right(self._starts, max(start, end - 1)) - 1
        stop = self.spans[last][1] if last >= 0 else len(self.text)
        begin, stop = max(begin, start - _NEAR), min(stop, end + _NEAR)
        return self.text[begin:start], self.text[end : max(end, stop)]

    def place(self, position: int) -> int:
        """Return which sentence `position` is in, from 0."""
        return max(0, bisect_right(self._starts, position) - 1)

    def alone(self, start: int, end: int) -> bool:
        """Return whether nothing but signs stands beside `start` to `end` on their lines."""
        before = self.text[max(0, start - _NEAR) : start].rpartition("\n")[2]
        after = self.text[end : end + _NEAR].partition("\n")[0]
        return not any(character.isalnum() for character in before + after)
