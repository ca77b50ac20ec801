"""Stop strings: where an answer ends, whatever the tokens it comes in.

The match that is complete first ends the answer; of several that are complete with the same
character, the longest. So the result does not depend on how the text was cut into pieces.
Owns what must be held back because a stop string may have begun. Knows no tokens.
"""

from __future__ import annotations

from collections.abc import Iterable


class StopStrings:
    """Cuts the text of one choice before the first stop string."""

    def __init__(self, stops: Iterable[str]) -> None:
        """Watch for the given strings, none of them empty."""
        self._matchers = [_Matcher(stop) for stop in stops]
        self._held = ""
        self._matched = False

    @property
    def matched(self) -> bool:
        """Whether a stop string was found; nothing more is shown then."""
        return self._matched

    def feed(self, text: str) -> str:
        """Return what can be shown of the text so far and was not shown yet."""
        if self._matched:
            return ""
        if not self._matchers:
            return text
        buffer = self._held + text
        for end, character in enumerate(text, len(self._held) + 1):
            lengths = [len(m.stop) for m in self._matchers if m.advance(character)]
            if lengths:
                self._matched = True
                self._held = ""
                return buffer[: end - max(lengths)]
        safe = len(buffer) - max(matcher.matched for matcher in self._matchers)
        self._held = buffer[safe:]
        return buffer[:safe]

    def flush(self) -> str:
        """Return what was held back, once no more text comes."""
        held, self._held = self._held, ""
        return held


class _Matcher:
    """Knuth, Morris and Pratt's matcher of one string, a character at a time.

    Its failure table is made only as far as the string was matched, since a caller may send
    a very long one.
    """

    def __init__(self, stop: str) -> None:
        self.stop = stop
        self.matched = 0
        # _borders[k]: length of the longest proper border of the first k characters.
        self._borders = [0, 0]

    def advance(self, character: str) -> bool:
        """Take one more character; return whether the whole string has just been seen."""
        self.matched = self._extend(self.matched, character)
        while len(self._borders) <= self.matched:
            known = len(self._borders) - 1
            self._borders.append(self._extend(self._borders[known], self.stop[known]))
        return self.matched == len(self.stop)

    def _extend(self, length: int, character: str) -> int:
        """Return how much of the string the text matches after `character`."""
        while length and self.stop[length] != character:
            length = self._borders[length]
        return length + (self.stop[length] == character)
