"""Whether a sentence states what a pattern found in it, as the judge's own and present view."""

from __future__ import annotations

import re

from services.evaluator.judging.verdicts.context import clause_of, denied, meant
from services.evaluator.judging.verdicts.names import NAME
from services.evaluator.judging.verdicts.subjects import ALL
from services.evaluator.judging.verdicts.wholes import MERIT, of_wholes

_UNSURE = re.compile(
    r"\b(?:may|might|could|(?<!I )would(?! be (?:considered|rated|ranked|judged|deemed|placed))|possibly|perhaps|maybe|arguably|potentially|should|some|others say|"
    r"people|critics|whether|if|unless|according to|had|until|second|one of|among the \w+est|almost|nearly|"
    r"aims|tries|attempts|wants|asked|needs?|needed|suppos\w+|used to|either|no(?! doubt)|thinks|believes|compet\w+|promis\w+|hop(?:es|ing)|unlikely|possible|allegedly|supposedly|expected|itself|at first)\b",
    re.IGNORECASE,
)
_SAID_BY = re.compile(
    r"\b(?:claims?|claimed|says?|said|argues?|argued|states?|stated|believes?|believed|thinks?|"
    r"thought|asserts?|mentions?|mentioned|explains?|explained|describes?|discuss(?:es)?|suggests?|"
    r"notes?|tells?|told|writes?|wrote|insists?|declares?|lists?|recommends?|compares?|that|why|how|because)\b",
    re.IGNORECASE,
)
_EXCEPT = re.compile(
    r"^[^.]{0,200}\b(?:except|apart from|other than|save for|with the exception|if|unless|when it (?!comes)|as long as|"
    r"were it not|with some|some of them|but only|only in|only when|"
    r"or (?:maybe|perhaps|possibly)|in (?:only )?(?:one|some|certain|a few|several) \w+|"
    r"(?:and|but) (?:\w+ )?(?:worse|better) (?:when|in|at|on|for))\b|"
    r"^[^.;]{0,60}\b(?:but|yet|though) (?:\w+ )?(?:less|worse|weaker)\b",
    re.IGNORECASE,
)
_REPORTED = re.compile(
    rf"[{NAME[1:-1]}{ALL}][^,;.{NAME[1:-1]}{ALL}]{{0,30}}{_SAID_BY.pattern}[^,;.]{{0,40}}\bthat $|\b(?:means?|meaning) that $",
    re.IGNORECASE,
)
_NARROWED = re.compile(
    r"\W{0,2}(?:about (?!the same)|at (?!answering|addressing|all\b|first\b|the end\b)\w+ing\b|"
    r"(?:in|at|on) (?:the|its|their) [a-z]+ (?:half|part|paragraph|section|sentence|point|step|line)\b)|"
    rf"\W{{0,2}}(?:in|at|on|for) (?:its |their )?(?!first\b|terms|{MERIT}\b|this|that|the (?:end|sense|range)|every|most|all\b|general|"
    r"overall|quality|relevance|coherence|diversity|immersion|integrity|being|both|my|many|"
    r"answer|response|how|what|addressing)[a-z]+(?=[ ]?(?:[.,;]|$)|,? (?:but|while|and)\b)",
    re.IGNORECASE,
)
_NEAR = 120
"""Characters before a statement in which an answer may be said to make it."""


def stated(found: re.Match[str], sentence: str) -> bool:
    """Return whether `sentence` means what was found; its `middle` links whom it is about."""
    return not narrowed(found, sentence) and claimed(found, sentence)


def narrowed(found: re.Match[str], sentence: str) -> bool:
    """Return whether what was found is said of one aspect alone: `… in spelling`."""
    return bool(_NARROWED.match(sentence, found.end()))


def claimed(found: re.Match[str], sentence: str) -> bool:
    """Return whether `sentence` means what was found, be it of the whole or of one aspect."""
    before, after = sentence[: found.start()], sentence[found.end() :]
    groups = found.groupdict()
    clause, middle = clause_of(before), groups.get("middle") or ""
    return not (
        before.count('"') % 2
        or _REPORTED.search(before[-_NEAR:])
        or before.endswith(" or ")
        or (groups.get("one") and not of_wholes(before, middle, groups.get("to") or ""))
        or _UNSURE.search(clause)
        or _UNSURE.search(middle)
        or _SAID_BY.search(middle)
        or denied(middle)
        or denied(clause)
        or _EXCEPT.search(after)
        or not meant(before, after)
    )
