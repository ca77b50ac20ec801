"""Sentences that rank groups: by how good each group is, or one after the other.

`X and Y are equally strong, Z is weak`; `X is the best, followed by Y, then Z`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from services.evaluator.judging.verdicts.adjectives import BETTER, WORSE, has_merit
from services.evaluator.judging.verdicts.hedges import stated
from services.evaluator.judging.verdicts.names import NAME, UNKNOWN, indices
from services.evaluator.judging.verdicts.ranking import Relations
from services.evaluator.judging.verdicts.subjects import ALL, GROUP, OTHERS, members

_LEVELS = (
    ("excellent", "outstanding", "exceptional", "perfect", "superb", "exceptionally"),
    ("great", "strong", "very", "highly", "extremely", "high", "strongly"),
    ("good", "solid", "well", ""),
    ("moderate", "moderately", "average", "fair", "fairly", "adequate", "decent", "acceptable",
     "satisfactory", "mediocre", "medium", "okay", "somewhat", "reasonably"),
    ("low", "poor", "weak", "slightly", "limited", "poorly", "weakly", "barely", "lacking"),
    ("bad", "terrible", "awful", "badly"),
)  # fmt: skip
_LEVEL = {word: level for level, words in enumerate(_LEVELS) for word in words if word}
_PLAIN = 2
_BETWEEN = rf"[^{NAME[1:-1]}{ALL}{OTHERS};:.!?\n]"
_GRADED = re.compile(
    rf"(?P<one>{GROUP})(?P<middle>(?:'s?)?{_BETWEEN}{{0,40}}?) (?:are|is|were|was|have|has|both|all)"
    rf"(?: (?:both|all|also|each|an?|considered|rated|judged))*"
    rf"(?P<equal> equal(?:ly)?)? (?P<degree>{'|'.join(sorted(_LEVEL, key=len, reverse=True))})\b"
    r"(?!-)(?: (?P<adjective>[\w-]+))?",
    re.IGNORECASE,
)
_EQUALLY = re.compile(
    rf"(?P<one>{GROUP})(?P<middle>(?:'s?)?{_BETWEEN}{{0,40}}?) (?:are|were)(?: (?:both|all|also))* "
    r"equally (?P<adjective>[\w-]+)",
    re.IGNORECASE,
)
_LESS = re.compile(
    rf"(?P<one>{GROUP})(?P<middle>'?s?) (?:is|are|was|were|performs?|being|has|have|shows?|gives?|provides?)(?: an?)?(?: (?:also|both|all))? "
    rf"(?:slightly |somewhat |much |far |a bit |a little |\w+ly )*"
    rf"(?:(?P<degree>more|less) (?P<adjective>[\w-]+)|(?P<better>{BETTER})|(?P<worse>{WORSE}))\b"
    rf"(?! (?:than|to) (?!{UNKNOWN}))",
    re.IGNORECASE,
)
_NEXT = re.compile(
    r",? ?\b(?:and )?(?:(?:is |are |was |then )?(?:closely |immediately )?followed (?:closely )?by|then(?: comes)?|"
    r"next(?: is| comes| are)?|lastly|finally|and last(?:ly)?(?: is)?|with)(?: by)? "
    rf"(?P<one>{GROUP})",
    re.IGNORECASE,
)
_FIRST = re.compile(rf"(?P<one>{GROUP})(?P<middle>{_BETWEEN}{{0,160}}?)$")
_TIED = re.compile(
    r"\b(?:equal(?:ly)?|tied?|same|equivalent|tying|joint(?:ly)?|on par|(?:are|best|most [\w-]+)(?: \w+)? (?:are|come from|(?:both |all )?the (?:best|worst|most|top|least)))\b|[(\"']=",
    re.IGNORECASE,
)


def graded(sentences: list[str], n: int) -> Relations:
    """Return how groups of equals rank by the grades that `sentences` give them."""
    relations = Relations()
    grades = [grade for sentence in sentences for grade in _grades(sentence, n)]
    graded_once = sorted(answer for group, _ in grades for answer in group)
    if graded_once != list(range(1, n + 1)) or not _tiers(grades):
        return relations
    for group, level in grades:
        relations.tie(sorted(group))
        for other, lower in grades:
            if level < lower:
                relations.rank(group, other)
    return relations


def _tiers(grades: list[tuple[frozenset[int], int]]) -> bool:
    """Return whether there are several levels, and a group of several on one."""
    return len({level for _, level in grades}) > 1 and any(len(group) > 1 for group, _ in grades)


def _grades(sentence: str, n: int) -> Iterator[tuple[frozenset[int], int]]:
    """Yield the groups in `sentence` with their levels, 0 the best."""
    for found in _GRADED.finditer(sentence):
        if stated(found, sentence):
            yield members(found["one"], sentence, n), _LEVEL[found["degree"].lower()]
    for found in _EQUALLY.finditer(sentence):
        adjective = found["adjective"].lower()
        if adjective not in _LEVEL and has_merit(adjective) and stated(found, sentence):
            yield members(found["one"], sentence, n), _PLAIN


def behind_equals(sentence: str, n: int, equal: list[frozenset[int]]) -> Iterator[Relations]:
    """Yield that an answer is better or worse than the equals that its sentence names."""
    for found in _LESS.finditer(sentence):
        one = members(found["one"], sentence, n)
        rivals = list({group for group in equal if not group & one})
        merit = not found["degree"] or has_merit(found["adjective"])
        if len(rivals) == 1 and 0 not in one and merit and stated(found, sentence):
            up = bool(found["better"]) or (found["degree"] or "").lower() == "more"
            relations = Relations()
            relations.rank(*((one, rivals[0]) if up else (rivals[0], one)))
            yield relations


def _in_a_row(words: str, group: frozenset[int]) -> bool:
    """Return whether `words` tell a group one by one: `X, Y` or `X, Y, and Z`, not `X and Y`."""
    return len(group) > 2 or (len(group) > 1 and "and" not in words)  # noqa: PLR2004


def sequence(sentence: str, n: int) -> Relations:
    """Return what `X …, followed by Y, then Z` says; groups of several are equal if it says so."""
    relations = Relations()
    steps = list(_NEXT.finditer(sentence))
    if not steps or not re.search(r"followed|then|next", sentence, re.IGNORECASE):
        return relations
    first = _FIRST.search(sentence, 0, steps[0].start())
    if first is None or not stated(first, sentence):
        return relations
    groups = [members(found["one"], sentence, n) for found in (first, *steps)]
    if any(0 in group for group in groups):
        return relations
    for place, group in enumerate(groups):
        if (
            place
            and _in_a_row(steps[place - 1]["one"], group)
            and len(groups[0]) == 1
            and not _TIED.search(sentence)
        ):
            relations.rank(groups[place - 1], group)
            for one, other in pairwise(indices(steps[place - 1]["one"])):
                relations.rank([one], [other])
            continue
        if len(group) > 1:
            end = steps[place].start() if place < len(steps) else len(sentence)
            start = steps[place - 1].start() if place else 0
            # Who shares the first place makes tiers of all that follow.
            if not _TIED.search(sentence, start, end) and len(groups[0]) == 1:
                return Relations()
            relations.tie(sorted(group))
        if place:
            relations.rank(groups[place - 1], group)
    return relations
