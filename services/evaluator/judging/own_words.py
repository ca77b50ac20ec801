"""What of a judge's reply is the judge's own, and where it gives the verdict.

Owns the defence on the way back: what a reply repeats of the material is left out before
anything is read in it. A line with the review's verdict mark is the judge's own, since no
material holds that mark. Knows what a reader is, and no form of a verdict.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from services.evaluator.judging.echoes import Echoes, plain, tokens_of
from services.evaluator.judging.marks import Marks

_THOUGHT = re.compile(r"\A\s*<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL)
_THOUGHT_END = re.compile(r"\A.*^\s*</(?:think|thinking|reasoning)>", re.DOTALL | re.MULTILINE)
_BEFORE_VERDICT = " \t*_`:\uff1a]\u3011)"
_QUOTED = re.compile(r"^(?:\s*>)+")
_FENCE_LINE = re.compile(r"[>\s*_`-]*[\[\u3010].*[\]\u3011][\s*_`]*")


@dataclass(frozen=True, slots=True)
class Source:
    """What a reply can repeat: the material, and the lines of the instructions around it."""

    marks: Marks
    echoes: Echoes
    instructions: frozenset[tuple[str, ...]]
    end: str
    """With what the label of a closing line begins or ends."""


def instruction_lines(text: str) -> frozenset[tuple[str, ...]]:
    """Return the lines of the instructions that could be taken for something said."""
    lines = (tuple(_words(line)) for line in text.splitlines())
    return frozenset(words for words in lines if len(words) > 1)


def without_thoughts(reply: str) -> str:
    """Return `reply` without what a model thought before it; unfinished thoughts are all."""
    if (opened := _THOUGHT.match(reply)) is not None:
        return reply[opened.end() :]
    # Some servers leave out the opening tag, which stands in the template.
    return _THOUGHT_END.sub("", reply)


def marked_verdict(reply: str, source: Source) -> str | None:
    """Return what stands behind the last verdict mark, to the end; None: there is none."""
    lines = plain(reply).splitlines()
    for number in range(len(lines) - 1, -1, -1):
        _, mark, rest = lines[number].rpartition(source.marks.verdict)
        if mark and tuple(_words(lines[number])) not in source.instructions:
            return "\n".join([rest.lstrip(_BEFORE_VERDICT), *lines[number + 1 :]])
    return None


def own_words(reply: str, source: Source, reads: Callable[[str], bool]) -> str:
    """Return `reply` without what it repeats, line by line.

    Left out are passages between marked lines (one that is not closed runs to the end), lines of
    the instructions, lines that stand in the material, and lines that hold a passage of it which
    would be read as a verdict by itself: `reads` says so.
    """
    own: list[str] = []
    quoted = False
    for line in plain(reply).splitlines():
        if source.marks.fence in line and _FENCE_LINE.fullmatch(line):
            quoted = source.end not in line
        elif not quoted and not _repeats(line, source, reads):
            own.append(line)
    return "\n".join(own)


def _repeats(line: str, source: Source, reads: Callable[[str], bool]) -> bool:
    for words in (_words(line), _words(_QUOTED.sub("", line))):
        if not words:
            return False
        if tuple(words) in source.instructions or source.echoes.holds(words):
            return True
    if "{" in line and source.echoes.made_of(words):
        return True
    return any(reads(passage) for passage in source.echoes.passages(line))


def _words(line: str) -> list[str]:
    return [token.word for token in tokens_of(plain(line))]
