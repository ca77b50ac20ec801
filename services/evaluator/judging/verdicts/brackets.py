"""Verdicts in brackets or boxes of their own: `[[A]]`, `[[C]]` for a tie, `[[2]]`.

Only of two answers: of more, the best one alone is no order.
"""

from __future__ import annotations

import re

from services.evaluator.judging.verdicts.names import index, is_name, number_of
from services.evaluator.judging.verdicts.readings import OrderReading, OrderRule
from services.evaluator.judging.verdicts.sentences import Sentences

_DOUBLE = re.compile(r"\[\[ ?([^\[\]\n]{1,40}?) ?\]\]")
_KEYED = re.compile(
    r"^[^\w\n]{0,12}(?:(?:my|the|final|overall) ){0,3}(?:verdict|winner|choice|judge?ment|decision|answer|preference|"
    r"result|better(?: (?:answer|response|assistant))?|preferred(?: (?:answer|response))?|best(?: (?:answer|response|assistant))?|"
    r"结论|胜者|获胜者|最终结果|结果|更好的(?:回答|助手)?|勝者)(?: is)? ?[:=] ?[\[(\"' ]{0,4}([^\[\]\n\"'().,]{1,40}?)"
    r"[\])\"'. 。]{0,4}$",
    re.MULTILINE | re.IGNORECASE,
)
_ONLY = re.compile(r"\A\W{0,12}([AB]|tie|draw|equal|=|平局|平手|打平)\W{0,12}\Z", re.IGNORECASE)
_TIE = re.compile(
    r"(?:an? )?(?:tie|tied|draw|equal|both(?: equal)?|neither|平局|平手|打平|引き分け|=|[AB12] ?= ?[AB12])",
    re.IGNORECASE,
)
_PAIR = 2


def read_brackets(sentences: Sentences, n: int) -> OrderReading | None:
    """Return the verdict that stands in brackets, after `Verdict:` or alone; None: none does.

    The last one decides if nothing but signs follows it; else all must agree.
    """
    if n != _PAIR:
        return None
    text = sentences.text
    for pattern in (_DOUBLE, _KEYED, _ONLY):
        found = list(pattern.finditer(text))
        if not found:
            continue
        read = [_ranks(each[1].strip()) for each in found]
        ends_text = not any(each.isalnum() or is_name(each) for each in text[found[-1].end() :])
        if read[-1] is None or (len(set(read)) > 1 and not ends_text):
            return OrderReading(None, OrderRule.UNREADABLE) if pattern is _DOUBLE else None
        return OrderReading(read[-1], OrderRule.BRACKETS)
    return None


def _ranks(label: str) -> tuple[int, int] | None:
    if _TIE.fullmatch(label) or label == "C":
        return (1, 1)
    if len(label) != 1 and not label.isdigit():
        return None
    number = index(label) if is_name(label) else number_of(label)
    return {1: (1, 2), 2: (2, 1)}.get(number)
