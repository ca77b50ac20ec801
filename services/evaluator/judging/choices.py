"""Reading a word out of several that a judge was to choose from, strictly.

Owns the forms in which a choice is written: alone on the last line, behind a key, in brackets.
Knows no prompt; `winners` and the label grader say which words there are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from services.evaluator.judging.echoes import plain

_KEY = (
    r"(?:(?:my|the|final|overall|so|therefore)[\s,]+){0,3}"
    r"(?:verdict|winner|answer|decision|choice|label|result|better|grade|"
    r"裁决|结论|标签|结果|胜者|更好的?)"
    r"\s*(?::|=|\bis\b|是)+\s*"
)
_KEYED = re.compile(_KEY + r"(.+)", re.IGNORECASE)
_KEYED_WORD = re.compile(_KEY + r"([^\s,;.]+)", re.IGNORECASE)
_DOUBLED = re.compile(r"\[\[([^\[\]\n]{1,200})\]\]")
_EITHER = re.compile(r"(.+?)(?:\s+or\s+|\s*/\s*|或者?)(.+)", re.IGNORECASE)
_AROUND = " \t*_`\"'.。!()[]{}【】“”「」"
_DECORATION = _AROUND + ">#-"


def read_choice_line(text: str, words: Mapping[str, str]) -> str | None:
    """Return the value of the one word of `words` that `text` ends with, or None.

    `words` are casefolded. The last line decides; if it names none, all `[[word]]` in the text
    must be the same one.
    """
    lines = _lines(text)
    if not lines:
        return None
    last = lines[-1].strip(_DECORATION)
    if (keyed := _KEYED.fullmatch(last)) is not None:
        return words.get(_bare(keyed[1]))
    if (chosen := words.get(_bare(last))) is not None:
        return chosen
    named = _DOUBLED.findall(lines[-1]) or _DOUBLED.findall("\n".join(lines))
    values = {words.get(_bare(word)) for word in named}
    return values.pop() if len(values) == 1 else None


def is_torn(text: str, words: Mapping[str, str]) -> bool:
    """Return whether the last line of `text` names two of `words`, one or the other."""
    last = lines[-1] if (lines := _lines(text)) else ""
    bare = last.strip(_DECORATION)
    keyed = _KEYED.fullmatch(bare)
    either = _EITHER.fullmatch(keyed[1] if keyed else bare)
    named = _DOUBLED.findall(last) if either is None else either.groups()
    values = {words.get(_bare(word)) for word in named} - {None}
    return len(values) > 1


def holds_choice(text: str, words: Mapping[str, str]) -> bool:
    """Return whether a key with one of `words` stands anywhere in `text`."""
    return any(_bare(found[1]) in words for found in _KEYED_WORD.finditer(plain(text)))


def _lines(text: str) -> list[str]:
    """Return the lines with single blanks that are more than decoration."""
    lines = (" ".join(line.split()) for line in plain(text).splitlines())
    return [line for line in lines if line.strip(_DECORATION)]


def _bare(text: str) -> str:
    return " ".join(text.strip(_AROUND).casefold().split())
