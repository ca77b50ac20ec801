"""Whom a sentence is about, besides those it names: both, all three, the others.

Turns these words into one character each, as names are. A count that does not fit (`both` of
three) is somebody unknown.
"""

from __future__ import annotations

import re

from services.evaluator.judging.verdicts.names import NAME, UNKNOWN, index, is_name
from services.evaluator.judging.verdicts.wholes import VERB

ALL = "\ue0f0"
"""All answers."""
OTHERS = "\ue0f1"
"""All that the sentence does not name."""

NAMES = rf"{NAME}(?:(?: ?[,、/&=] ?(?:and )?| and |和|与|及|と){NAME}){{0,25}}"
"""A pattern of names in a row, in one way only: each second way would double the time."""

_NAMES = re.compile(NAMES)
_NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBER = rf"(?:[0-9]{{1,2}}|{'|'.join(_NUMBERS)})"
_PLURAL = (
    r"(?:assistants|answers|responses|models|candidates|replies|outputs|chatbots|bots|ones|"
    r"systems|participants|completions|texts|AIs)(?:'s?)?(?: (?:answers|responses|replies|outputs))?"
)
_OTHERS = re.compile(
    rf"\b(?:(?:all |any |both )?(?:of )?the (?:other|remaining|rest of the) (?:{_NUMBER} )?{_PLURAL}|"
    r"(?:all )?(?:the )?others|the rest|the remaining ones|"
    r"the other (?:assistant|answer|response|model|candidate|one)(?:'s (?:answer|response))?|"
    r"the other)(?!\w)",
    re.IGNORECASE,
)
_ALL = re.compile(
    rf"\bthey (?:are |were |have )?(?P<they>all|both)\b|"
    rf"\b(?P<both>both)(?: of)?(?: the| these| them)?(?: AI)?(?: {_PLURAL})?(?! {NAME})(?!\w)|"
    rf"\ball(?: of)?(?: the| these| them)?(?: (?P<count>{_NUMBER}))?(?: AI)?(?: of them| {_PLURAL})(?!\w)|"
    rf"\ball (?P<some>{_NUMBER})(?= (?:{VERB}|equally|tie|of)\b)|"
    rf"\bthe (?P<number>{_NUMBER})(?: of them| (?:AI )?{_PLURAL})(?!\w)|"
    rf"\b(?P<plain>the|these|each of the) {_PLURAL}(?!\w)|"
    r"\beach (?:assistant|answer|response|model|candidate|reply)(?:'s (?:answer|response|reply|output))?(?!\w)",
    re.IGNORECASE,
)
_THEY_ALL = re.compile(r"\bthey (?:are |were |have )?(?:all|both)\b", re.IGNORECASE)
_BOTH_NAMED = re.compile(
    r"\b(?:they both|both of them|both|these two|the two|they)"
    r"(?= (?:are|were|have|had|perform|provide|show|outperform)\b(?! (?:all|both)\b))",
    re.IGNORECASE,
)
_RELATIVE = re.compile(
    rf"({NAMES}), (?:which|who)(?: in turn)? (?=(?:is|are|was|were|has|have|outperforms|surpasses)\b)"
)
_NEW_CLAUSE = re.compile(
    rf"((?:\b(?:by|then|than|to|comes|next|over) |[<>=] ?){NAME}),? and "
    rf"(?={NAME} (?:is|was|has|does|comes|ranks|performs)\b|{NAME}(?: and |, ){NAMES} (?:are|were|have|tie|share)\b)",
    re.IGNORECASE,
)
_THEY = re.compile(r"\b(?:they|them)\b", re.IGNORECASE)
_THEIRS = re.compile(r"\btheir (?:answers|responses|replies|outputs)\b", re.IGNORECASE)
_ALL_EAST = re.compile(
    r"(?:(?P<count>[两二三四五六七八九十0-9]{1,2})(?:个|名|位|者)?(?:都|均|的)?(?:助手|回答|答案|模型|回复)?)"
    r"(?=(?:都|均|的|表现|质量|一样|不相上下|同样|相当|持平|打平))|"
    r"(?P<plain>(?:所有|全部|双方|两者|二者)(?:的)?(?:助手|回答|答案|模型|回复)?)|(?P<ja>両方|両者)"
)
_EAST_NUMBERS = {"两": 2, **{digit: place for place, digit in enumerate("一二三四五六七八九十", 1)}}
_BOTH_LISTED = re.compile(rf"\b(?:both|either|all of) (?={NAME})", re.IGNORECASE)
_LISTED_ALL = re.compile(
    rf"(?<={NAME})( (?:are|were|have|perform|rank))? (?:both|all)\b", re.IGNORECASE
)
GROUP = rf"(?:{ALL}|{OTHERS}|{NAMES})"
"""A pattern of all that a sentence can be about."""


def with_subjects(sentence: str, n: int, before: str = "") -> str:
    """Return `sentence` with a character for each word that means all or the others.

    `they all` after a sentence, `before`, that names some and not all may mean those alone.
    """
    named = len({each for each in before if re.match(NAME, each)})
    if n > 2 and 1 < named < n:  # noqa: PLR2004 - they two are both
        sentence = _THEY_ALL.sub(UNKNOWN, sentence)
    if (named == n or ALL in before) and not any(map(is_name, sentence)):
        sentence = _THEY.sub(ALL, sentence)
    if n > 2:  # noqa: PLR2004 - of two, both are all
        sentence = _BOTH_NAMED.sub(_two_named, sentence, count=1)
    sentence = _NEW_CLAUSE.sub(r"\1; and ", _RELATIVE.sub(r"\1; \1 ", sentence))
    sentence = _LISTED_ALL.sub(r"\1", sentence)
    sentence = _OTHERS.sub(OTHERS, _BOTH_LISTED.sub("", sentence))
    sentence = _ALL.sub(lambda found: _all(found, n), sentence)
    sentence = _ALL_EAST.sub(lambda found: _all_east(found, n), sentence)
    if n == 2 or ALL in sentence:  # noqa: PLR2004 - who else
        sentence = _THEIRS.sub(ALL, sentence)
    return _THEY.sub(ALL, sentence) if n == 2 else sentence  # noqa: PLR2004


def members(group: str, sentence: str, n: int) -> frozenset[int]:
    """Return the answers that `group` means in its sentence; 0 is among them: somebody unknown."""
    if group == ALL:
        return frozenset(range(1, n + 1))
    if group == OTHERS:
        named = {index(each) for each in sentence if is_name(each)}
        return frozenset(range(1, n + 1)) - named or frozenset({0})
    return frozenset(index(each) for each in group if is_name(each))


def _two_named(found: re.Match[str]) -> str:
    """Return whom `both` or `they` mean: the one group before them, or the only two; or the word."""
    groups = [
        each[0] for each in _NAMES.finditer(found.string, 0, found.start()) if len(each[0]) > 1
    ]
    if len(groups) == 1:
        return groups[0]
    names = sorted({each for each in found.string[: found.start()] if is_name(each)})
    return " and ".join(names) if len(names) == 2 else found[0]  # noqa: PLR2004


def _all(found: re.Match[str], n: int) -> str:
    if found["both"] or (found["they"] or "").lower() == "both":
        return ALL if n == 2 else UNKNOWN  # noqa: PLR2004 - both are two
    number = (found["count"] or found["number"] or found["some"] or "").lower()
    if not number:
        kept = found[0].split()[1] if found["they"] and len(found[0].split()) > 2 else ""  # noqa: PLR2004
        return f"{ALL} {kept}" if kept else ALL
    count = int(number) if number.isdigit() else _NUMBERS.index(number) + 2
    return ALL if count == n else UNKNOWN


def _all_east(found: re.Match[str], n: int) -> str:
    count = found["count"]
    if count:
        number = int(count) if count.isdigit() else _EAST_NUMBERS.get(count, 0)
        return ALL if number == n else UNKNOWN
    two = found["ja"] or found["plain"].startswith(("双方", "两者", "二者"))
    return UNKNOWN if two and n != 2 else ALL  # noqa: PLR2004
