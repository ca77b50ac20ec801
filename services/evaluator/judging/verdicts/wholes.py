"""Whether a sentence speaks of answers as wholes: `the diversity of X`, not `the title of X`.

Owns the nouns that mean an answer or a merit of it. All other nouns mean a part, which may be
the better one of two without its answer being so.
"""

from __future__ import annotations

import re

MERIT = (
    r"(?:quality|qualities|performances?|levels?|degrees?|coherence|coherency|relevance|relevancy|"
    r"diversity|immersion|integrity|immersiveness|scores?|ranks?|rankings?|orders?|value|merits?|"
    r"standing|ratings?|grades?|helpfulness|accuracy|usefulness|effectiveness|consistency|"
    r"strength|footing|standards?|calibre|caliber|ability|terms|details?|depth|clarity)"
)
VERB = (
    r"(?:is|are|was|were|be|being|has|have|had|perform(?:s|ed)?|provides?|provided|gives?|gave|"
    r"offers?|shows?|showed|demonstrates?|demonstrated|exhibits?|exhibited|displays?|seems?|"
    r"appears?|ranks?|ranked|rates?|rated|scores?|scored|receives?|received|achieves?|achieved|"
    r"does|do|did|presents?|presented|delivers?|delivered|deserves?|stands?|comes?|remain|"
    r"earns?|gets?|maintains?|maintained|possess(?:es)?|meets?|fulfil(?:l|ls)?|answers?|responds?|share[sd]?)"
)
_WHOLE = re.compile(
    rf"(?:{MERIT}|answers?|responses?|repl(?:y|ies)|outputs?|texts?|works?|explanations?|approach|stor(?:y|ies)|"
    r"essays?|letters?|poems?|e-?mails?|reviews?|articles?|posts?|advice|solutions?|writing|versions?|"
    r"recommendations?|suggestions?|all|each|any|both|case|result|favou?r|ranking|comparison|"
    r"jobs?|comes?|fit|choice|option|sense|understanding|overview|given|provided|written)",
    re.IGNORECASE,
)
_MADE = r"(?:given|provided|written|offered|made|presented|generated|produced)"
_OF = re.compile(rf"([\w-]+)(?: {_MADE})? (?:of|in|from|by|within) (?:both )?$", re.IGNORECASE)
_OWN = re.compile(
    rf"'s? (?P<phrase>[\w ,-]*?)(?= (?:{VERB}|of|in|for|to|on|about|outperforms|surpasses)\b| ?$)",
    re.IGNORECASE,
)
_LINKS = re.compile(
    rf"\b(?:that|those|of|the|ones?|by|from|{_MADE}|what|does|did|either|an?|general|overall)\b",
    re.IGNORECASE,
)
_NEAR = 60
"""Characters before a name in which the noun may stand that it belongs to."""


def is_merit(word: str) -> bool:
    """Return whether `word` names a merit, such as `relevance`."""
    return bool(re.fullmatch(MERIT, word, re.IGNORECASE))


def is_whole(phrase: str) -> bool:
    """Return whether the noun of `phrase`, such as `overall answer to`, is of whole answers."""
    words = re.split(r"\b(?:to|for|of|in|on|that|which|with|overall|here)\b", phrase)[0].split()
    return not words or bool(_WHOLE.fullmatch(words[-1]))


def of_wholes(before: str, middle: str, to: str = "") -> bool:
    """Return whether what stands before and after a name leaves it a whole answer.

    Args:
        before: what precedes the name: `the opening of`.
        middle: what follows it, up to what is said: `'s opening is`.
        to: what precedes the name that it is compared to: `that of`.
    """
    owners = _OF.findall(before[-_NEAR:])
    # `the diversity in X is greater than in Y`
    nouns = (
        owners
        if owners and to.split() in (["in"], ["that", "in"])
        else owners + _LINKS.sub("", to).split()
    )
    if (own := _OWN.match(middle)) and own["phrase"].strip():
        nouns.append(own["phrase"].split()[-1])
    return all(map(_WHOLE.fullmatch, nouns))
