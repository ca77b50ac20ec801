"""Rankings as lists and tables: places with names, names with places, names in a row.

An enumeration is no ranking by itself: `1. Assistant 1: …` may only count the answers. A ranking
is announced as one, or says places (`1st`, `Rank 2`), or is a list of bare names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from services.evaluator.judging.verdicts.context import meant
from services.evaluator.judging.verdicts.names import NAME, indices
from services.evaluator.judging.verdicts.ranking import from_places, ranks_of_tiers
from services.evaluator.judging.verdicts.readings import OrderReading, OrderRule
from services.evaluator.judging.verdicts.sentences import Sentences
from services.evaluator.judging.verdicts.subjects import NAMES
from services.evaluator.judging.verdicts.wholes import MERIT, of_wholes

_WORDS = (
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
)
_EAST = "一二三四五六七八九十"
_ORDINAL = (
    rf"(?:(?P<st>[0-9]{{1,2}})(?:st|nd|rd|th)\b|(?P<word>{'|'.join(_WORDS)})\b|"
    rf"第(?P<east>[{_EAST}]|[0-9]{{1,2}})(?:名|位)?|(?P<wei>[0-9]{{1,2}})位|(?:rank|place|no\.?|#)[ :=]{{0,2}}(?P<hash>[0-9]{{1,2}})\b|"
    r"(?P<medal>[\U0001F947-\U0001F949]))"
)
_PLACE_NAME = re.compile(
    rf"^[^\w\n]{{0,12}}?(?:{_ORDINAL}(?: (?:place|rank|best))?|(?P<plain>[0-9]{{1,2}})(?=[.):、 ]))[ .):\-、|]*(?P<names>{NAMES})(?P<rest>[^\n]*)$",
    re.MULTILINE | re.IGNORECASE,
)
_INLINE = re.compile(
    rf"[.,;:] ?(?=(?:and )?(?:[0-9]{{1,2}}(?:st|nd|rd|th)\b|[0-9]{{1,2}}\) ?{NAME}|(?:{'|'.join(_WORDS)}) (?:place|is)\b|第))",
    re.IGNORECASE,
)
_RANK_OF = re.compile(
    rf"\b(?:rank|place|position) (?:of|for) (?P<names>{NAME}) ?[:=] ?(?P<plain>[0-9]{{1,2}})\b",
    re.IGNORECASE,
)
_NAME_PLACE = re.compile(
    rf"(?P<names>{NAMES})(?:'s)? ?(?P<how>(?:[:\-|=]|\b(?:is|are|ranks?|ranked|comes?|came|placed|finish(?:es)?|takes?|gets|"
    r"in|for|at|both|tied?|equal|joint(?:ly)?|shares?)\b| (?!the\b))*)"
    rf"[ |(]{{0,3}}(?:the )?(?:(?P<best>best|(?:clear )?winner)\b|(?P<last>last|worst)\b(?! one)|(?:(?:rank|place|position|排名|第)[ :=]{{0,2}})?{_ORDINAL}(?: place)?(?! and (?:{'|'.join(_WORDS)})| in the (?!ranking|order)))",
    re.IGNORECASE,
)
_SHARED = re.compile(r"\b(?:both|are|rank|come|tied?|equal|joint(?:ly)?|shares?)\b", re.IGNORECASE)
_LAST = 99
"""The place of who is behind all others, however many they are."""
_RANKING = re.compile(
    r"\b(?:(?<!please )(?<!to )rank(?:ing|ings|ed)?|(?:best|highest|strongest|most(?: \w+)?) (?:to|->) (?:the )?(?:worst|lowest|weakest|least)"
    r"|final order|leaderboard)\b|"
    rf"\border(?:ing)?(?: (?:of|by|for|in terms of)(?: the)? (?:assistants|{MERIT})){{0,2}}(?: is| would| should| will)?$|排名|排序|从好到坏|从高到低|順位|ランキング",
    re.IGNORECASE,
)
_REVERSED = re.compile(
    r"\b(?:worst|lowest|weakest|least(?: \w+)?) (?:to|->) (?:the )?(?:best|highest|strongest|most)|从低到高|从差到好|ascending",
    re.IGNORECASE,
)
_ROW = re.compile(
    rf"(?P<lead>[^\n]{{0,120}}?)(?::| is| are| be)\s{{0,3}}[\[(\"' ]{{0,3}}(?P<row>{NAME}(?:(?: ?[,;、/\n] ?(?:and |then )?| then |,? and (?:then |finally )?|,? followed by ){NAME}){{1,25}})[\])\"'. ]{{0,4}}$",
    re.MULTILINE | re.IGNORECASE,
)
_CELL = re.compile(r"^ ?\|?(.*?)\|? ?$")
_HEAD = re.compile(r"^(?:rank(?:ing)?|place|position|排名|名次|順位)$", re.IGNORECASE)
_TIED = re.compile(r"\b(?:tie|tied|equal|best|worst|winner)\b", re.IGNORECASE)
_ENUMERATED = 60
"""Characters before a list in which it may be announced as a ranking."""


def read_lists(sentences: Sentences, n: int) -> OrderReading | None:
    """Return what rankings in other forms than chains say; None: there is none of all answers."""
    text = sentences.text
    read: list[tuple[tuple[int, ...], OrderRule]] = []
    read += [(ranks, OrderRule.LIST) for ranks in _tables(text, n)]
    read += [(ranks, OrderRule.LIST) for ranks in _numbered(text, n)]
    read += [(ranks, OrderRule.LIST) for ranks in _rows(sentences, n)]
    read += _labelled(text, n)
    if not read:
        return None
    if len({ranks for ranks, _ in read}) > 1:
        return OrderReading(None, OrderRule.CONTRADICTORY)
    return OrderReading(*read[0])


def _numbered(text: str, n: int) -> Iterator[tuple[int, ...]]:
    """Yield the last list that gives names to places."""
    text = _INLINE.sub("\n", text)
    items = list(_PLACE_NAME.finditer(text))
    starts = [place for place, item in enumerate(items) if _number(item) == 1]
    if not starts:
        return
    block = items[starts[-1] :]
    # Two firsts are a tie: `1. X`, `1. Y`.
    while starts and starts[-1] > 0 and starts[-1] - 1 in starts:
        starts.pop()
        block = items[starts[-1] :]
    places: dict[int, int] = {}
    for item in block:
        for answer in indices(item["names"]):
            if answer in places:
                return
            places[answer] = _number(item)
    if set(places) != set(range(1, n + 1)):
        return
    before = text[max(0, block[0].start() - _ENUMERATED) : block[0].start()]
    announced = bool(_RANKING.search(before) or _REVERSED.search(before))
    says_places = all(item["plain"] is None for item in block)
    bare = not any(any(c.isalnum() for c in _TIED.sub("", item["rest"])) for item in block)
    ends = not any(c.isalnum() for c in text[block[-1].end() :])
    if not (announced or says_places or (bare and ends)):
        return
    told = [places[answer] for answer in range(1, n + 1)]
    if _REVERSED.search(before):
        told = [max(told) + 1 - place for place in told]
    if (ranks := from_places(told)) is not None:
        yield ranks


def _labelled(text: str, n: int) -> Iterator[tuple[tuple[int, ...], OrderRule]]:
    """Yield what `Assistant 1: 2nd`, `Assistant 2: 1st` say; who shares a place, does so in prose."""
    places: dict[int, int] = {}
    shared = False
    for found in (*_NAME_PLACE.finditer(text), *_RANK_OF.finditer(text)):
        groups = found.groupdict()
        if n == 2 and (groups.get("best") or groups.get("last")):  # noqa: PLR2004 - `is the best at …` is no place
            continue
        answers = indices(found["names"])
        shared = shared or len(answers) > 1
        if not _is_place(found, text) or (groups.get("best") and 1 in places.values()):
            return
        if any(places.setdefault(answer, _number(found)) != _number(found) for answer in answers):
            return
    if set(places) == set(range(1, n + 1)):
        behind = 1 + sum(place != _LAST for place in places.values())
        told = [places[answer] for answer in range(1, n + 1)]
        ranks = from_places([behind if place == _LAST else place for place in told])
        if ranks is not None:
            yield ranks, OrderRule.PROSE_GROUPED if shared else OrderRule.LABELLED


def _is_place(found: re.Match[str], text: str) -> bool:
    """Return whether answers as wholes have the place: one alone, or several who share it."""
    before = text[max(0, found.start() - _ENUMERATED) : found.start()]
    how = found.groupdict().get("how") or ""
    return of_wholes(before, "") and bool(len(indices(found["names"])) == 1 or _SHARED.search(how))


def _rows(sentences: Sentences, n: int) -> Iterator[tuple[int, ...]]:
    """Yield what `Ranking: X, Y, Z` says."""
    for found in _ROW.finditer(sentences.text):
        lead = found["lead"]
        reverse = bool(_REVERSED.search(lead))
        if not (reverse or _RANKING.search(lead)) or not meant(lead, ""):
            continue
        tiers = [[answer] for answer in indices(found["row"])]
        ranks = ranks_of_tiers(tiers[::-1] if reverse else tiers, n)
        if ranks is not None:
            yield ranks


def _tables(text: str, n: int) -> Iterator[tuple[int, ...]]:
    """Yield what a Markdown table with a column of ranks says."""
    column: int | None = None
    places: dict[int, int] = {}
    for line in text.splitlines():
        if line.count("|") < 2:  # noqa: PLR2004 - no row
            continue
        cells = [cell.strip() for cell in line.strip(" |").split("|")]
        heads = [place for place, cell in enumerate(cells) if _HEAD.match(cell)]
        if heads:
            column, places = heads[0], {}
            continue
        if column is None or column >= len(cells):
            continue
        named = [index for cell in cells for index in indices(cell)]
        digits = re.fullmatch(r"#?([0-9]{1,2})(?:st|nd|rd|th)?", cells[column])
        if digits and named:
            for answer in named[:1]:
                places[answer] = int(digits[1])
    if set(places) == set(range(1, n + 1)):
        ranks = from_places([places[answer] for answer in range(1, n + 1)])
        if ranks is not None:
            yield ranks


def _number(found: re.Match[str]) -> int:
    groups = found.groupdict()
    if groups.get("best"):
        return 1
    if groups.get("last"):
        return _LAST
    for key in ("st", "wei", "hash", "plain"):
        if groups.get(key):
            return int(groups[key])
    if groups["word"]:
        return _WORDS.index(groups["word"].lower()) + 1
    if groups["east"]:
        return int(groups["east"]) if groups["east"].isdigit() else _EAST.index(groups["east"]) + 1
    return ord(groups["medal"]) - 0x1F947 + 1
