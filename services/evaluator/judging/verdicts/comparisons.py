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
    is_adjective,
    is_bad,
)
from services.evaluator.judging.verdicts.hedges import claimed, narrowed, stated
from services.evaluator.judging.verdicts.names import NAME
from services.evaluator.judging.verdicts.ranking import Relations
from services.evaluator.judging.verdicts.subjects import ALL, GROUP, OTHERS, members
from services.evaluator.judging.verdicts.wholes import VERB, is_merit, is_whole

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
_WHOLE = re.compile(
    r"(?:,? (?:and )?(?:more )?[\w-]+){0,2} (?:answer|response|reply|explanation|output)\b",
    re.IGNORECASE,
)
_PRAISED = re.compile(
    rf"(?P<one>{NAME})(?:'s?)? (?:is|was|{_GIVES})(?: an?)? (?:\w+ly |a bit |a little |somewhat |much |far )*"
    r"more (?P<adjective>[\w-]+)",
    re.IGNORECASE,
)
_FAULTS = re.compile(
    r"\b(?:errors?|mistakes?|faults?|flaws?|typos|problems?|issues?|repetitions?|gaps|contradictions)\b",
    re.IGNORECASE,
)
_NOUNS = re.compile(r" ?[\w-][\w -]{0,60}")
_ENDS = re.compile(
    r" ?(?:[.,;:!)\"]|$|-|quality\b|and\b|but\b|because|as\b|since|due|overall|in\b|for\b|here|of the two|(?:"
    r"answer|response|one|choice|option|assistant|reply|model|overall)\b)",
    re.IGNORECASE,
)
_ONE_PART = re.compile(
    r" (?:in|at|on|for|with|when)\b(?! (?:terms|every|all|most|general|quality|this|that|my|its)\b)|"
    r" (?:about|toward|towards)\b",
    re.IGNORECASE,
)
_PART = re.compile(
    r" (?:[\w-]+ )?(?:level|range|number|amount|use|structure|grammar|format|description|detail|"
    r"understanding|introduction|conclusion|job|sense|at|in (?:terms of )?(?:length|style|tone))",
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
        yield from _pair(found, sentence, n, up=_direction(found))
    for found in _each(_VERB, sentence):
        if found["lacking"] and not has_merit(found["lacking"]):
            continue
        yield from _pair(found, sentence, n, up=found["up"] is not None)
    for pattern in (_SUPER, _WINNER, _WINS):
        for found in pattern.finditer(sentence):
            yield from _best(found, sentence, n)
    if n == 2:  # noqa: PLR2004 - the better one of two is so without saying than whom
        for found in _ALONE.finditer(sentence):
            if _tells_of_whole(found) and not (disputed and found["degree"]):
                yield from _against_rest(found, sentence, n, up=_direction(found))


def asides(sentence: str, n: int) -> Iterator[Relations]:
    """Yield what `sentence` says of one aspect alone: no verdict, but one that denies another."""
    for found in _each(_THAN, sentence):
        if narrowed(found, sentence) and claimed(found, sentence):
            yield from _between(found, sentence, n, up=_direction(found))


def _tells_of_whole(found: re.Match[str]) -> bool:
    """Return whether `is more coherent`, `gives a better one` is of the answer, not a part."""
    if _ONE_PART.match(found.string, found.end()):
        return False
    if (found["better"] or found["worse"]) and found["be"]:
        return bool(_ENDS.match(found.string, found.end()))
    if found["better"] or found["worse"]:
        named = _NOUNS.match(found.string, found.end())
        return bool(named and is_whole(named[0]) and not _PART.match(found.string, found.end()))
    of_whole = (
        found["be"] is not None
        or is_merit(found["adjective"] or "")
        or bool(_WHOLE.match(found.string, found.end()))
    )
    named = found["adjective"] or ""
    fits = (
        is_adjective(named)
        or is_merit(named)
        or bool(found["be"] and _ENDS.match(found.string, found.end()))
    )
    return bool(found["degree"]) and fits and of_whole


def _each(pattern: re.Pattern[str], sentence: str) -> Iterator[re.Match[str]]:
    """Yield matches that may share a group: `X beats Y beats Z`."""
    found = pattern.search(sentence)
    while found:
        yield found
        found = pattern.search(sentence, found.start("other"))


def _direction(found: re.Match[str]) -> bool | None:
    """Return whether the first is the better one; None: it says nothing of merit."""
    if _turns(found):
        return None
    if found["better"] or found["worse"]:
        if not is_whole(found.groupdict().get("what") or "") or _does_better(found):
            return None
        return found["better"] is not None
    if found["er"]:
        return _ER.get(found["er"].lower())
    adjective = found["adjective"]
    if (
        _FAULTS.search(found[0])
        or not has_merit(adjective)
        or not (
            is_adjective(adjective)
            or is_merit(adjective)
            or found.groupdict().get("be")
            or _IS.search(found["middle"])
        )
    ):
        return None
    return found["degree"].lower() == "more"


def _turns(found: re.Match[str]) -> bool:
    """Return whether a comparison goes both ways: `more accurate but less complete than`."""
    up = bool(found["better"] or found["er"]) or (found["degree"] or "").lower() == "more"
    return bool((_LESS if up else _MORE_OF).search(found.groupdict().get("what") or ""))


def _does_better(found: re.Match[str]) -> bool:
    """Return whether the answer only does something better: `tells jokes better than`."""
    done = found["middle"].split()
    told_how = found.groupdict().get("what") == "" and len(done) > 1 and not done[0].startswith("'")
    return told_how and not _LEADS.fullmatch(done[-1])


_LEADS = re.compile(
    rf"(?:{VERB}|\w+ly|much|far|bit|little|even|also|lot|way|somewhat|still|overall|to|an?|the|as|and|but|considered|deemed|judged|found|placed|"
    r"questions?|tasks?|prompts?|requests?|topic|roles?|character|job|work)",
    re.IGNORECASE,
)
_LESS = re.compile(rf"\b(?:less|{WORSE})\b", re.IGNORECASE)
_MORE_OF = re.compile(rf"\b(?:more|{BETTER})\b", re.IGNORECASE)
_IS = re.compile(r"\b(?:is|are|was|were|be|being|it|them)\b[^,]*$", re.IGNORECASE)
_ER = {
    **dict.fromkeys(
        (
            "clearer",
            "richer",
            "deeper",
            "smoother",
            "stronger",
            "smarter",
            "nicer",
            "safer",
            "wiser",
            "broader",
            "wider",
            "tighter",
            "easier",
            "cleaner",
            "fuller",
            "kinder",
            "fairer",
        ),
        True,
    ),
}


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
