"""What of a judge's reply is the judge's own, and where it gives the verdict.

Owns the defence on the way back: what a reply repeats of the material is left out before
anything is read in it. A line with the review's verdict mark is the judge's own, since no
material holds that mark. Knows what a reader is, and no form of a verdict.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from services.evaluator.judging.echoes import Echoes, is_doubled, plain, words_of
from services.evaluator.judging.marks import Marks

_THOUGHT = re.compile(r"\s*<(think|thinking|reasoning)>")
_THOUGHT_END = re.compile(r"^[ \t]*</(?:think|thinking|reasoning)>", re.MULTILINE)
_BEFORE_VERDICT = " \t*_`:\uff1a]\u3011)"
_QUOTED = re.compile(r"^(?:\s*>)+|^\s*<\w{1,20}>|</\w{1,20}>\s*$")
# Who says something, or its number in a list; a key of a verdict is no one.
_SAID = re.compile(
    r"[^\w\n]*(?:[0-9]{1,2}[.)]|(?![^:]*\b(?:scores?|ratings?|grades?|verdict|winner|better|rank(?:ing)?|"
    r"order|label)\s*:)(?!(?:评分|得分|分数|裁决|排序|标签)\s*:)[^:\n]{1,60}:)\s*(.+)",
    re.IGNORECASE,
)
_FENCE_LINE = re.compile(r"[>\s*_`-]*[\[\u3010].*[\]\u3011][\s*_`]*")


@dataclass(frozen=True)
class Source:
    """What a reply can repeat: the material, and the instructions around it."""

    marks: Marks
    echoes: Echoes
    instructions: str
    """What many reviews are told in the same words."""
    forms: str
    """What this review alone is told: lines with its marks, and those to be filled in."""
    end: str
    """With what the label of a closing line begins; empty if no passage is between lines."""

    @cached_property
    def form_lines(self) -> frozenset[tuple[str, ...]]:
        """Return the words of the lines that this review alone is told."""
        return frozenset(_lines_of(self.forms))

    def tells(self, words: list[str]) -> bool:
        """Return whether a line of instructions consists of these words."""
        line = tuple(words)
        return line in self.form_lines or line in _instruction_lines(self.instructions)


def without_thoughts(reply: str) -> str:
    """Return `reply` without what a model thought before it; unfinished thoughts are all."""
    if (opened := _THOUGHT.match(reply)) is not None:
        return reply[opened.end() :].partition(f"</{opened[1]}>")[2]
    # Some servers leave out the opening tag, which stands in the template.
    ends = list(_THOUGHT_END.finditer(reply))
    return reply[ends[-1].end() :] if ends else reply


def marked_verdict(reply: str, source: Source) -> str | None:
    """Return what stands behind the last verdict mark, to the end; None: there is none."""
    lines = plain(reply).splitlines()
    for number in range(len(lines) - 1, -1, -1):
        _, mark, rest = lines[number].rpartition(source.marks.verdict)
        if mark and tuple(words_of(lines[number])) not in source.form_lines:
            return "\n".join([rest.lstrip(_BEFORE_VERDICT), *lines[number + 1 :]])
    return None


def own_words(reply: str, source: Source) -> str:
    """Return `reply` without what it repeats, line by line.

    Left out are passages between marked lines (one that is not closed runs to the end), lines of
    the instructions, and lines that stand in the material.
    """
    own: list[str] = []
    quoted = False
    for line in plain(reply).splitlines():
        if source.marks.fence in line and _FENCE_LINE.fullmatch(line):
            quoted = bool(source.end) and source.end not in line
        elif not quoted and not _repeats(line, source):
            own.append(line)
    return "\n".join(own)


def without_quotes(own: str, source: Source, reads: Callable[[str], bool]) -> str:
    """Return the lines of `own` that hold no passage of the material which `reads` as a verdict."""
    lines = own.splitlines()
    return "\n".join(line for line in lines if not any(map(reads, source.echoes.passages(line))))


def _repeats(line: str, source: Source) -> bool:
    for words in (words_of(line), words_of(_QUOTED.sub("", line))):
        if not words:
            return False
        if source.echoes.holds(words, doubled=is_doubled(line)) or source.tells(words):
            return True
    if "{" in line and source.echoes.made_of(words_of(line)):
        return True
    said = _SAID.fullmatch(line)
    return said is not None and source.echoes.holds_line(words_of(said[1]))


@lru_cache(maxsize=256)
def _instruction_lines(text: str) -> frozenset[tuple[str, ...]]:
    return frozenset(_lines_of(text))


def _lines_of(text: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each line; a single word could be anything."""
    for line in text.splitlines():
        words = tuple(words_of(line))
        if len(words) > 1:
            yield words
