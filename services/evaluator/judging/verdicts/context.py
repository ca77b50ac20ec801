"""Whether a judge means what it writes: not in a condition, a denial, a question or a quotation.

Owns the words that take a statement back, and those that announce a verdict.
"""

from __future__ import annotations

import re
from enum import IntEnum

_CONDITION = re.compile(
    r"(?:^|[:;])\W*(?:if(?! (?:i|we|one) (?:had|have|were|am|are|must|consider|rank|order|compare|judge|look|focus|"
    r"take)\b| (?:forced|pressed)\b)|unless|suppose|supposing|assuming|assume|had|imagine|were|whether|"
    r"for [^,]{0,40} (?:who|that|wanting|looking)|for (?:an?|some|many|young|certain) [^,]{1,40},|如果|假如|假设|若|要是|もし)(?:\b|(?=\W)|(?<=[^\x00-\x7f]))",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"(?:\b(?:not|never|cannot|neither|nor|without(?! (?:a )?doubt)|false|untrue|incorrect|wrong|(?<!no )(?<!out )(?<!a )doubt(?:ful)?|disagree|"
    r"deny|denies|rather than|instead of|contrary to|no longer|far from|hardly|rarely|seldom)\b|n't\b|"
    r"不是|并非|並非|没有|不能|不认为|ではない)",
    re.IGNORECASE,
)
_REPORTED = re.compile(
    r"(?:\b(?:says?|said|claims?|claimed|claiming|states?|stated|writes?|wrote|written|asserts?|"
    r"argues?|insists?|tells?|told|asks?|asked|contains?|containing|includes?|including|reads?|"
    r"declares?|announces?|quotes?|quoted?|saying|stating|text|phrase|string|words?|"
    r"instructions?|prompt|ends? with|ended with|ending with|user|question)\b|说|写道|声称|写着)",
    re.IGNORECASE,
)
_CLAUSE = re.compile(
    r"[,;]|\b(?:so|therefore|thus|hence|but|while|whereas|although|though|because|since|as|and)\b",
    re.IGNORECASE,
)
_FORMAT = re.compile(
    r"(?:\be\.g\.|\bfor (?:example|instance)\b|\b(?:format|template|placeholder|notation|syntax)\b|"
    r"\bsuch as\b|\b(?:some|any)thing like\b|格式|例如|比如)",
    re.IGNORECASE,
)
_EXAMPLE = re.compile(r"(?:\be\.g\.|\bfor (?:example|instance))[,:]? ?[\"']?$", re.IGNORECASE)
_ABOUT_VERDICT = re.compile(
    r"\b(?:orders?|ordering|rank\w*|verdict|result|say|claim|conclude|that|this|it|mean)\b|\b(?:is|be|not)$",
    re.IGNORECASE,
)
_REPORTING_VERB = re.compile(
    r"\b(?<!be )(?:says|said|claims|claimed|asserts|insists|declares|writes|wrote|announces|states|ended with|ends with|contains|reads)"
    r"(?: that)?[ ]?[:,]?[ ]?$",
    re.IGNORECASE,
)
_UNREAL = re.compile(r"\b(?:would|could|might|should) have\b|\bhypothetical", re.IGNORECASE)
_TAKEN_BACK = re.compile(
    r"^[\s\"')\]]*(?:,[ ]?)?(?:\((?:the )?(?:format|form|example|e\.g)|if|said|says|claims|or (?:the (?:reverse|opposite|other way)|vice versa)|unless|provided|only if|would|is (?:not|wrong|false|incorrect|"
    r"untrue)|isn't|cannot|can't|were|was (?:not|wrong)|(?:but|however,?|yet) (?:that|this) (?:is|would)|"
    r"是错|不对|不成立)\b",
    re.IGNORECASE,
)
_STRONG = re.compile(
    r"\b(?:therefore|thus|hence|consequently|accordingly|so|conclusions?|conclude|finally|final|"
    r"verdict|winner(?= is|:| goes)|my (?:choice|preference|judge?ment|decision))\b|"
    r"因此|所以|综上|綜上|最终|最終|结论|結論|总之|したがって|よって",
    re.IGNORECASE,
)
_WEAK = re.compile(
    r"\b(?:overall|in (?:summary|general|terms of|total|short|sum)|to sum up|all in all|"
    r"summary|order|ordering|rank|ranks|ranked|ranking|result|on balance)\b|"
    r"总的来说|总体|整体|排序|排名|顺序|順位|総合|全体",
    re.IGNORECASE,
)


_OPEN = re.compile(
    r"\b(?:difficult|hard|impossible|not possible|challenging|unable|unclear|cannot|can't|not easy|"
    r"subjective|not clear|open to)\b.{0,40}\b(?:say|determine|judge|decide|tell|choose|rank|compare|"
    r"which|who|debate|declare|pick|place)\b|\bdepend(?:s|ing)? on\b|\bmatter of (?:taste|opinion|preference)|"
    r"\b(?:may|might|could) (?:also )?(?:be|seem|appear)\b.{0,40}\b(?:more|less|better|worse|best|equal\w*)\b|"
    r"无法(?:判断|确定|决定|区分)|难以(?:判断|确定|取舍)|取决于",
    re.IGNORECASE,
)


class Cue(IntEnum):
    """How plainly a sentence announces a verdict."""

    NONE = 0
    WEAK = 1
    STRONG = 2


def cue_of(sentence: str) -> Cue:
    """Return how plainly `sentence` announces a verdict."""
    if _STRONG.search(sentence):
        return Cue.STRONG
    return Cue.WEAK if _WEAK.search(sentence) else Cue.NONE


def conditional(sentence: str) -> bool:
    """Return whether a sentence states nothing: it opens with a condition, or asks."""
    return bool(_CONDITION.search(sentence)) or sentence.rstrip("\"') ").endswith("?")


def left_open(text: str) -> bool:
    """Return whether `text` says that no verdict can be given."""
    return bool(_OPEN.search(text))


def clause_of(before: str) -> str:
    """Return the last clause of `before`, which is what a `not` in it is about."""
    return _CLAUSE.split(before)[-1]


def denied(words: str) -> bool:
    """Return whether `words` take back what follows them."""
    return bool(_DENIED.search(words))


def meant(before: str, after: str) -> bool:
    """Return whether a form between `before` and `after`, parts of its sentence, is a saying."""
    clause = clause_of(before.rstrip(" :\"'(["))
    reason = before.rstrip(" \"'([").endswith(":") and not _ABOUT_VERDICT.search(clause)
    quoted = before.endswith(('"', "'")) and after.startswith(('"', "'"))
    return not (
        conditional(before + after)
        or (_DENIED.search(clause) and not reason)
        or _FORMAT.search(clause)
        or _EXAMPLE.search(before)
        or _UNREAL.search(clause)
        or _REPORTING_VERB.search(before.rstrip("\"' "))
        or (quoted and _REPORTED.search(clause))
        or _TAKEN_BACK.search(after)
    )


def reported(before: str) -> bool:
    """Return whether `before` announces somebody else's words, such as an answer's."""
    return bool(_REPORTED.search(clause_of(before)))
