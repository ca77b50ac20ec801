"""Sentences in which one answer is better than another, or the best of all.

Reads one sentence whose names and subjects are characters. What a sentence takes back, wonders
about or reports is not said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from services.evaluator.judging.verdicts.adjectives import (
    BEST,
    BETTER,
    WORSE,
    WORST,
    has_merit,
    is_bad,
)
from services.evaluator.judging.verdicts.directions import direction, tells_of_whole
from services.evaluator.judging.verdicts.hedges import claimed, narrowed, stated
from services.evaluator.judging.verdicts.names import NAME
from services.evaluator.judging.verdicts.ranking import Relations
from services.evaluator.judging.verdicts.subjects import ALL, GROUP, OTHERS, members

_ANYBODY = rf"{NAME[1:-1]}{ALL}{OTHERS}"
_BETWEEN = rf"[^{_ANYBODY};:.!?\n]"
_MORE = (
    rf"(?P<degree>more|less)(?: [a-z]+ly)? (?P<adjective>[\w-]+)|(?P<better>{BETTER})|"
    rf"(?P<worse>{WORSE})|(?P<er>[a-z]{{2,12}}(?:er|ier))"
)
_THAN = re.compile(
    rf"(?P<one>{GROUP})(?P<middle>{_BETWEEN}{{0,160}}?)\b(?:{_MORE})\b(?P<what>{_BETWEEN}{{0,80}}?) "
    rf"(?:than|to(?!{_BETWEEN}{{0,40}} than\b)|compared (?:to|with)|over)\b(?P<to>{_BETWEEN}{{0,40}}?)(?P<other>{GROUP})",
    re.IGNORECASE,
)
_UP = (
    r"(?:outperform(?:s|ed)?|beats?|surpass(?:es|ed)?|exceed(?:s|ed)?|outshines?|outclass(?:es)?|"
    r"edges? out|bests|above|ahead of|over|(?:has|had|have) (?:an? |the )?(?:\w+ )?(?:edge|advantage|lead) (?:over|on)|wins? (?:over|against)|defeats?|prevails over|"
    r"(?:is|are|was|ranks?|placed|comes|should be) (?:\w+ )?(?:preferred (?:over|to)|above|ahead of|"
    r"ranked (?:above|ahead of)|higher than|favou?red over))"
)
_DOWN = (
    r"(?:loses to|lost to|trails|lags behind|falls (?:behind|short of)|"
    r"(?:is|are|was|ranks?) (?:\w+ )?(?:outperformed by|surpassed by|beaten by|below|behind|"
    r"ranked below|lower than|not (?:quite )?(?:as|so) (?P<lacking>[\w-]+) as)|"
    r"(?:does not|doesn't|did not|didn't) (?:perform|do|score|rank) (?:quite )?as (?:well|highly|high) as)"
)
_VERB = re.compile(
    rf"(?P<one>{GROUP})(?P<middle>(?: \w+ly)?(?:'s?)?) "
    rf"(?:has |have )?(?:(?P<up>{_UP})|(?P<down>{_DOWN})) (?P<other>{GROUP})",
    re.IGNORECASE,
)
_BE = (
    r"(?:is|are|was|were|being|seems|appears|comes(?: out| in)?|stands out|performs|does|ranks?|ranked|"
    r"(?:is|are) (?:considered|deemed|judged|rated|found|clearly|definitely|overall|ranked|tied for|in)|"
    r"can be (?:considered|deemed|judged|rated|seen))"
    r"(?: to be)?(?: as)?(?: both| all)?"
)
_GIVES = (
    r"(?:provides|provided|gives|gave|offers|has|had|delivers|presents|demonstrates|shows|exhibits|"
    r"displays|contains|is|produces|makes)"
)
_SUPER = re.compile(
    rf"(?P<one>{GROUP})(?P<middle>(?:'s?)?{_BETWEEN}{{0,60}}?) (?:{_BE}|{_GIVES}) "
    rf"(?:\w+ly )?(?:the )?(?:(?:very|clear|overall|single) )?"
    rf"(?:(?P<most>most|least) (?P<adjective>[\w-]+)|(?P<best>{BEST})|(?P<worst>{WORST}))\b",
    re.IGNORECASE,
)
_ALONE = re.compile(
    rf"(?P<one>{NAME}|{OTHERS})(?P<middle>'?s?(?: (?:slightly|clearly|overall|somewhat|\w+ly))?) "
    rf"(?:(?P<be>{_BE})|{_GIVES}(?: an?| the)?) (?P<adverb>(?:\w+ly |somewhat |much |far |a bit |a little |the |overall |of )*)"
    rf"(?:{_MORE})\b(?!{_BETWEEN}{{0,80}} (?:than\b|to {_BETWEEN}{{0,40}}{GROUP}))",
    re.IGNORECASE,
)
_PRAISED = re.compile(
    rf"(?P<one>{NAME})(?:'s?)? (?:is|was|{_GIVES})(?: an?)? (?:\w+ly |a bit |a little |somewhat |much |far )*"
    r"more (?P<adjective>[\w-]+)",
    re.IGNORECASE,
)
_WINNER = re.compile(
    r"\b(?:(?:winner|verdict|best|better|preferred|preference|choice|vote|winning|superior|favou?rite)"
    r"(?: (?:answer|response|assistant|one|model|reply))?(?P<middle>(?: (?:overall|here|of the two|in this case))?)"
    r"(?: is|:| =| goes to| comes from| was)|(?:prefer|choose|pick|favou?r|select|vote for|lean towards?|preference is for))"
    rf" ?(?:clearly |that of |from )?(?P<one>{NAME})(?!'s? ?\w| (?:is|was|for its)\b)",
    re.IGNORECASE,
)
_WINS = re.compile(
    rf"(?P<one>{NAME})(?P<middle>(?: \w+ly)?) (?:wins(?! over| the (?!comparison|round))|won(?! over)|takes the (?:win|lead)|comes out on top|"
    r"(?:is|was) the (?:clear |overall )?winner|takes first place|ranks first|"
    r"(?:is|ranked|comes|came) (?:in )?first(?! to\b| in the\b)|(?:gets|deserves|receives) the (?:higher|better|highest|best|top|first) "
    r"(?:rank\w*|score|place|rating|grade)|is my (?:choice|pick|preference)|(?:is|comes out) (?:\w+ly )?ahead(?! of))\b",
    re.IGNORECASE,
)


def comparisons(sentence: str, n: int) -> Iterator[Relations]:
    """Yield what each comparison in `sentence` says of `n` answers."""
    praised = {
        found["one"] for found in _PRAISED.finditer(sentence) if not is_bad(found["adjective"])
    }
    disputed = n == 2 and len(praised) > 1  # noqa: PLR2004 - each is praised for something else
    for found in _each(_THAN, sentence):
        if disputed and found["degree"]:
            continue
        yield from _pair(found, sentence, n, up=direction(found))
    for found in _each(_VERB, sentence):
        if found["lacking"] and not has_merit(found["lacking"]):
            continue
        yield from _pair(found, sentence, n, up=found["up"] is not None)
    for pattern in (_SUPER, _WINNER, _WINS):
        for found in pattern.finditer(sentence):
            yield from _best(found, sentence, n)
    if n == 2:  # noqa: PLR2004 - the better one of two is so without saying than whom
        for found in _ALONE.finditer(sentence):
            if tells_of_whole(found) and not (disputed and found["degree"]):
                yield from _against_rest(found, sentence, n, up=direction(found))


def asides(sentence: str, n: int) -> Iterator[Relations]:
    """Yield what `sentence` says of one aspect alone: no verdict, but one that denies another."""
    for found in _each(_THAN, sentence):
        if narrowed(found, sentence) and claimed(found, sentence):
            yield from _between(found, sentence, n, up=direction(found))


def _each(pattern: re.Pattern[str], sentence: str) -> Iterator[re.Match[str]]:
    """Yield matches that may share a group: `X beats Y beats Z`."""
    found = pattern.search(sentence)
    while found:
        yield found
        found = pattern.search(sentence, found.start("other"))


def _pair(found: re.Match[str], sentence: str, n: int, *, up: bool | None) -> Iterator[Relations]:
    if stated(found, sentence):
        yield from _between(found, sentence, n, up=up)


def _between(
    found: re.Match[str], sentence: str, n: int, *, up: bool | None
) -> Iterator[Relations]:
    if up is None:
        return
    one, other = (members(found[each], sentence, n) for each in ("one", "other"))
    yield from _ranked(one, other, up=up)


def _best(found: re.Match[str], sentence: str, n: int) -> Iterator[Relations]:
    groups = found.groupdict()
    if not stated(found, sentence):
        return
    adjective, most = groups.get("adjective"), groups.get("most")
    if adjective and not has_merit(adjective):
        return
    up = most.lower() == "most" if most else groups.get("worst") is None
    if len(best := sorted(members(found["one"], sentence, n))) > 1 and 0 not in best:
        shared = Relations()
        shared.tie(best)
        yield shared
    yield from _against_rest(found, sentence, n, up=up, known=True)


def _against_rest(
    found: re.Match[str], sentence: str, n: int, *, up: bool | None, known: bool = False
) -> Iterator[Relations]:
    if up is None or not (known or stated(found, sentence)):
        return
    one = members(found["one"], sentence, n)
    yield from _ranked(one, frozenset(range(1, n + 1)) - one, up=up)


def _ranked(one: frozenset[int], other: frozenset[int], *, up: bool) -> Iterator[Relations]:
    if not one or not other or one & other or 0 in one | other:
        return
    relations = Relations()
    relations.rank(*((one, other) if up else (other, one)))
    yield relations
