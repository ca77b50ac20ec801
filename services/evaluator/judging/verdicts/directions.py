"""Which way a comparative goes, `more relevant` up and `weaker` down, and whether of the whole.

Reads a match of a comparison in its sentence; who is compared to whom is not its affair.
"""

from __future__ import annotations

import re

from services.evaluator.judging.verdicts.adjectives import BETTER, WORSE, has_merit, is_adjective
from services.evaluator.judging.verdicts.wholes import VERB, is_merit, is_whole

_WHOLE = re.compile(
    r"(?:,? (?:and )?(?:more )?[\w-]+){0,2} (?:answer|response|reply|explanation|output)\b",
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
_LEADS = re.compile(
    rf"(?:{VERB}|\w+ly|much|far|bit|little|even|also|lot|way|somewhat|still|overall|to|an?|the|as|and|but|considered|deemed|judged|found|placed|"
    r"questions?|tasks?|prompts?|requests?|topic|roles?|character|job|work)",
    re.IGNORECASE,
)
_LESS = re.compile(rf"\b(?:less|{WORSE})\b", re.IGNORECASE)
_MORE_OF = re.compile(rf"\b(?:more|{BETTER})\b", re.IGNORECASE)
_IS = re.compile(r"\b(?:is|are|was|were|be|being|it|them)\b[^,]*$", re.IGNORECASE)
_GOOD = frozenset((
    "clearer", "richer", "deeper", "smoother", "smarter", "nicer", "safer", "wiser", "broader",
    "wider", "tighter", "easier", "cleaner", "fuller", "kinder", "fairer",
))  # fmt: skip


def direction(found: re.Match[str]) -> bool | None:
    """Return whether the first is the better one; None: it says nothing of merit."""
    if _turns(found):
        return None
    if found["better"] or found["worse"]:
        if not is_whole(found.groupdict().get("what") or "") or _does_better(found):
            return None
        return found["better"] is not None
    if found["er"]:
        return True if found["er"].lower() in _GOOD else None
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


def tells_of_whole(found: re.Match[str]) -> bool:
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
