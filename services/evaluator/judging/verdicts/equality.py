"""Sentences in which answers are equal: all of them, or those that are named.

Reads one sentence whose names and subjects are characters. That two answers say the same, or
speak of equality, is no verdict: what is equal must be the answers or a merit of theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from services.evaluator.judging.verdicts.adjectives import NO_MERIT
from services.evaluator.judging.verdicts.context import conditional
from services.evaluator.judging.verdicts.hedges import stated
from services.evaluator.judging.verdicts.names import NAME, indices, is_name
from services.evaluator.judging.verdicts.subjects import ALL, GROUP, OTHERS, members
from services.evaluator.judging.verdicts.wholes import MERIT, VERB

_ANYBODY = rf"{NAME[1:-1]}{ALL}{OTHERS}"
_BETWEEN = rf"[^{_ANYBODY};:.!?\n]"
_SURE = (
    rf"(?P<sure>equal(?= ?(?:[^\w\s-]|$)| (?:in|at|for|when|as|and|or|with|on|overall|here|because|since|among|across|to each|"
    rf"to one|(?:\w+ )?{MERIT})\b)|"
    r"equally (?P<adverb>[\w-]+)|equally(?= ?[.!]?$)|equivalent(?!\w| to| (?:of|number|amount|length))|"
    r"tied(?!\w| to)|tie(?= ?(?:[.,;:!)]|$)| (?:for|in|at|on|overall|with each)\b)|on (?:a )?par|evenly matched|"
    r"indistinguishable|interchangeable|in a (?:tie|draw)|a (?:tie|draw|toss-up)|neck and neck|"
    r"as \w+ as each other|no better or worse)"
)
_VAGUE = (
    rf"(?P<vague>(?:the )?(?:exact(?:ly)? |very |roughly |about |quite |fairly |highly )?"
    rf"(?:the )?(?:same|similar(?:ly)?|comparable|identical|alike)(?! to)"
    rf"(?= ?(?:[.,;)(]|$)| (?:overall |high |low |good |general )?{MERIT}\b|"
    rf" in (?:terms|quality|overall|their {MERIT}|{MERIT}|this|that|all|every)))"
)
_EQUAL = re.compile(
    rf"(?P<one>{GROUP})(?P<middle>(?:'s?)?{_BETWEEN}{{0,40}}? {VERB}\b{_BETWEEN}{{0,60}}?|(?:,| all| both)*(?: as)?):? "
    rf"\(?[\"']?(?:{_SURE}|{_VAGUE})",
    re.IGNORECASE,
)
_JUDGED = re.compile(r"^ as$|\b(?:is|are|be|rank\w*|rate\w*|consider\w*)\b", re.IGNORECASE)
_SIGN = re.compile(
    rf"(?P<one>{GROUP})(?P<middle>{_BETWEEN}{{0,120}}?) ?[(\[\"']{{1,3}}={{1,2}}[)\]\"']{{1,3}}"
)
_TIE = re.compile(
    rf"(?P<one>{GROUP})(?P<middle>(?: \w+ly)?) (?:ties?(?: with)?|equals?|draws?(?: with)?|"
    rf"(?:is|are) (?:equal|equivalent|comparable|identical|similar|tied) (?:to|with)|"
    rf"(?:is|are) (?:just |exactly )?(?:as (?:\w+)|the same|equal) (?:as|to)|(?:is|are) on (?:a )?par with|matches)"
    rf"(?P<to>{_BETWEEN}{{0,40}}?) (?P<other>{GROUP})|"
    rf"\b(?:tie|draw|(?:equal|same|identical) {MERIT}(?: of \w+)?) (?:between|among|amongst|across|to|for) (?P<all>{GROUP})",
    re.IGNORECASE,
)
_NO_DIFFERENCE = re.compile(
    r"(?P<middle>)\bno (?:\w+ ){0,3}(?:differences?|distinctions?|winner|gap|preference|order|ordering|"
    r"ranking|hierarchy)(?! (?:in|of) (?:\w+ )?(?:length|tone|style|size|wording))\b"
    rf"(?:(?: (?!(?:between|among|amongst|of) {ALL})[\w']+){{0,10}}? (?:between|among|amongst|of) (?P<one>{GROUP}))?",
    re.IGNORECASE,
)
_OF_MERIT = re.compile(
    rf"(?:\b(?:the|their)(?: \w+){{0,3}}? |^\W*)(?P<middle>){MERIT}(?: of \w+)? (?:is|are|can be (?:rated|considered|seen)(?: as)?) (?:\w+ly |about |all )?"
    r"(?:equal|equivalent|the same|comparable|similar|identical)(?![\w-]| to)",
    re.IGNORECASE,
)
_SIGN_ALONE = re.compile(
    r"\b(?:equal|equivalent|equally|same|tied?|comparable|similar)(?P<middle>)(?: \w+){0,4} "
    r"[(\[]{1,2}[\"']?={1,2}[\"']?[)\]]{1,2}",
    re.IGNORECASE,
)
_NEITHER = re.compile(
    rf"\bneither(?: of them| (?:assistant|answer|response|one|model)|,? {NAME} nor {NAME}| of {ALL})?"
    r"(?P<middle>) (?:is|was|stands out as|outperforms|performs) (?:\w+ly )?"
    rf"(?:better|worse|superior|more [\w-]+|{OTHERS})(?: (?:or worse|than {OTHERS}))*",
    re.IGNORECASE,
)
_NONE = re.compile(
    rf"\b(?:none of {ALL}|no (?:assistant|answer|response|one)) (?:is|was) (?:\w+ly )?"
    rf"(?:better|superior|more (?P<adjective>[\w-]+)) than {OTHERS}",
    re.IGNORECASE,
)
_ANNOUNCED = re.compile(
    r"\b(?:verdict|winner|result|decision|outcome|judge?ment|conclusion|order|ordering|ranking|"
    r"it|this|that|preference|choice|answer)(?: (?:overall|here))?(?P<middle>)"
    r"(?:(?: ?(?::|is|=|'s|therefore|thus)){1,3}|(?<=call it)) ?(?:an? |all |both )?(?:\w+-way )?[\"'(\[]{0,3}"
    r"(?:tie|draw|tied|equal|equality|={1,2}(?=[\"')\]. ]{0,4}$))(?![\w-]| (?:to|in(?! terms)|score|with))",
    re.IGNORECASE,
)


def equalities(sentence: str, n: int, before: str = "") -> Iterator[frozenset[int]]:
    """Yield the groups of equal answers that `sentence` tells.

    A sentence that names nobody (`there is no clear winner`) is about those of the one `before`.
    """
    of_all = n == 2 or ALL in sentence or (ALL in before and not indices(sentence + before))  # noqa: PLR2004
    yield from signed_equalities(sentence, n)
    yield from _named_equals(sentence, n)
    everybody = frozenset(range(1, n + 1))
    of_everybody = [_ANNOUNCED, *([_OF_MERIT] if of_all else [])]
    for pattern in of_everybody:
        if any(stated(found, sentence) for found in pattern.finditer(sentence)):
            yield everybody
    for found in _NO_DIFFERENCE.finditer(sentence):
        between = found["one"] or (ALL if of_all else "")
        if stated(found, sentence):
            yield from _several(members(between, sentence, n))
    none = _NONE.search(sentence)
    nobody = none is not None and (none["adjective"] or "").lower() not in NO_MERIT
    if (nobody or (n == 2 and _NEITHER.search(sentence))) and not conditional(sentence):  # noqa: PLR2004
        yield everybody


def _named_equals(sentence: str, n: int) -> Iterator[frozenset[int]]:
    """Yield the groups that are said to be equal by their names, or as all."""
    for found in _EQUAL.finditer(sentence):
        adverb = (found["adverb"] or "").lower()
        of_others = found["middle"].endswith(" as") and not _JUDGED.search(found["middle"])
        if adverb not in NO_MERIT and not of_others and stated(found, sentence):
            yield from _several(members(found["one"], sentence, n))
    for found in _TIE.finditer(sentence):
        if stated(found, sentence):
            both = [
                members(found[each], sentence, n) for each in ("one", "other", "all") if found[each]
            ]
            yield from _several(frozenset[int]().union(*both))


def signed_equalities(sentence: str, n: int) -> Iterator[frozenset[int]]:
    """Yield the groups of equals that are marked with the sign: `equal (=)`."""
    for found in _SIGN.finditer(sentence):
        if stated(found, sentence):
            yield from _several(members(found["one"], sentence, n))
    if not any(map(is_name, sentence)):
        for found in _SIGN_ALONE.finditer(sentence):
            if stated(found, sentence):
                yield frozenset(range(1, n + 1))


def _several(group: frozenset[int]) -> Iterator[frozenset[int]]:
    if len(group) > 1 and 0 not in group:
        yield group
