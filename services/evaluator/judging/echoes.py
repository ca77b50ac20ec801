"""What of a judge's reply stands in the material too, and so may be an echo of it.

Owns how texts are compared: as words, numbers and signs of comparison, whatever stands between
them, so that quoting, other punctuation, other brackets or other line breaks hide nothing. Knows
nothing of verdicts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

_HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(rf"[0-9]+(?:\.[0-9]+)?|[{_HAN}]|[^\W\d_{_HAN}]+|[<>=\u2248\u2264\u2265]|\d")
_PIECE = re.compile(rf"(?:(?![{_HAN}<>=\u2248\u2264\u2265])[\w \t]|(?<=[0-9])\.(?=[0-9]))+")
_DOUBLED = re.compile(r"\[\s*·*\s*\[([^\[\]\n]{1,40})\]\s*\]")
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
_BRACKETS = set("[(\"'*{")
_SURE = 3
"""So many words in a row are no chance."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word of a line, and where it stands in it."""

    word: str
    start: int
    end: int


def plain(text: str) -> str:
    """Return `text` with usual characters for wide ones and none that nobody sees.

    A line break or character that is written as JSON writes it is one.
    """
    if "\\" in text:
        text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text).replace("\\n", "\n")
    return unicodedata.normalize("NFKC", _UNSEEN.sub("", text))


def tokens_of(line: str) -> list[Token]:
    """Return the tokens of a plain line."""
    return [Token(_word(found[0]), *found.span()) for found in _TOKEN.finditer(line)]


def words_of(text: str) -> list[str]:
    """Return the words of any text."""
    return [_word(found) for found in _TOKEN.findall(plain(text))]


def is_doubled(line: str) -> bool:
    """Return whether a plain line holds something in double brackets."""
    return _DOUBLED.search(line) is not None


class Echoes:
    """The word sequences of a material."""

    def __init__(self, material: str) -> None:
        """Take the material; nothing is computed before it is asked for."""
        self._raw = material

    def holds(self, words: list[str], *, doubled: bool = False) -> bool:
        """Return whether `words` stand in the material, one after the other.

        A single word is held only where it stands by itself: every text has the word `a`. One in
        `doubled` brackets is held where it stands in such: that is how verdicts are written, and
        an answer may well be one letter.
        """
        if any(word not in self._folded for word in words):
            return False
        if len(words) == 1:
            word = words[0]
            return word in (self._doubled if doubled else self._alone)
        return all(gram in self._grams for gram in _grams(words, min(_SURE, len(words))))

    def holds_line(self, words: list[str]) -> bool:
        """Return the same; a single word must be a whole line."""
        return self.holds(words) and (len(words) != 1 or words[0] in self._lines)

    def made_of(self, words: list[str]) -> bool:
        """Return whether `words` consist of pieces of two and more that the material holds."""
        return bool(words) and {
            place for start, end in self._runs(words) for place in range(start, end)
        } == set(range(len(words)))

    def passages(self, line: str) -> Iterator[str]:
        """Yield the longest passages of a plain line that the material holds.

        Each comes as it stands in brackets or quotes, and without them.
        """
        tokens = tokens_of(line)
        for start, end in self._runs([token.word for token in tokens]):
            first, last = tokens[start].start, tokens[end - 1].end
            passage = line[first:last]
            if end - start >= _SURE or not passage.replace(" ", "").isalpha():
                yield passage
                yield _with_brackets(line, first, last)
                yield from (found[0] for found in _DOUBLED.finditer(passage))
        for token in tokens:
            alone = _with_brackets(line, token.start, token.end)
            before = alone[: alone.find(line[token.start : token.end])]
            if _BRACKETS & set(before) and self.holds([token.word], doubled=is_doubled(alone)):
                yield alone

    def _runs(self, words: list[str]) -> Iterator[tuple[int, int]]:
        start = 0
        while start < len(words) - 1:
            end = start + 1
            while end < len(words) and (words[end - 1], words[end]) in self._grams:
                end += 1
            if end - start > 1:
                yield start, end
            start = max(end - 1, start + 1) if end - start > 1 else end

    @cached_property
    def _material(self) -> str:
        return plain(self._raw)

    @cached_property
    def _folded(self) -> str:
        return self._material.casefold()

    @cached_property
    def _grams(self) -> set[tuple[str, ...]]:
        words = [_word(found) for found in _TOKEN.findall(self._material)]
        return {gram for size in (2, _SURE) for gram in _grams(words, size)}

    @cached_property
    def _doubled(self) -> set[str]:
        """Return what stands in double brackets, in which a dot may stand (`markers`)."""
        return {" ".join(words_of(found)) for found in _DOUBLED.findall(self._material)}

    @cached_property
    def _alone(self) -> set[str]:
        return self._lines | _single(piece[0] for piece in _PIECE.finditer(self._material))

    @cached_property
    def _lines(self) -> set[str]:
        return _single(self._material.splitlines())


def _single(texts: Iterable[str]) -> set[str]:
    """Return the words of those texts that consist of one."""
    found = (_TOKEN.findall(text) for text in texts)
    return {_word(tokens[0]) for tokens in found if len(tokens) == 1}


def _word(text: str) -> str:
    if text[0].isdecimal() and "." in text:
        return text.rstrip("0").rstrip(".")
    return text.casefold()


def _grams(words: list[str], size: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[shift:] for shift in range(size)), strict=False)


def _with_brackets(line: str, start: int, end: int) -> str:
    """Return a part of `line` with what is no word and no blank on both sides."""
    while start and not (line[start - 1].isalnum() or line[start - 1].isspace()):
        start -= 1
    while end < len(line) and not (line[end].isalnum() or line[end].isspace()):
        end += 1
    return line[start:end]
