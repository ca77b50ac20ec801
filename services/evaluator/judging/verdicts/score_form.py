"""What scores must be: how many, between which bounds, and with which units they may be written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from services.evaluator.judging.verdicts.readings import ScoreReading, ScoreRule

NUMBER = r"-?[0-9]{1,6}(?:\.[0-9]{1,6})?"

_UNIT = re.compile(rf"({NUMBER}) ?(?:points?\b|marks?\b|stars?\b|分|点)")
_LIST = re.compile(
    rf"\[{{1,2}} ?(?P<in>{NUMBER}(?:(?: ?, ?| ){NUMBER}){{0,25}}) ?\]{{1,2}}|"
    rf"\( ?(?P<of>{NUMBER}(?:(?: ?, ?| ){NUMBER}){{1,25}}) ?\)"
)
_LEAD = re.compile(r"^(?:[-•+] (?=[^\W\d])|\| ?)")
_SPELLED = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
}
_WORD_AFTER_KEY = re.compile(
    rf"((?:score|rating|grade)s?(?: is)?[: ] ?)({'|'.join(_SPELLED)})\b(?=[.]?$)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class ScoreForm:
    """How many scores there must be, and between which bounds."""

    count: int
    low: float
    high: float

    def check(self, values: list[float], rule: ScoreRule) -> ScoreReading:
        """Return `values` as read by `rule`, or what is wrong with them."""
        if len(values) != self.count:
            return ScoreReading(None, ScoreRule.WRONG_COUNT)
        if not all(self.low <= value <= self.high for value in values):
            return ScoreReading(None, ScoreRule.OUT_OF_RANGE)
        return ScoreReading(tuple(values), rule)

    def without_units(self, line: str) -> str:
        """Return `line` without bullets, brackets, units and `/<high>`."""
        line = _LEAD.sub("", line.strip()).removesuffix("|")
        of_high = rf"(?<![0-9./])({NUMBER}) ?(?:/|\bout of\b) ?{self.high:g}(?![0-9/]|\.[0-9])"
        line = re.sub(of_high, r"\1", line, flags=re.IGNORECASE)
        scale = rf" ?\((?:(?:out of|of|max(?:imum)?|/) ?{self.high:g}|(?:from |scale )?{self.low:g} ?(?:-|to) ?{self.high:g})\)"
        line = re.sub(scale, "", line, flags=re.IGNORECASE)
        line = _WORD_AFTER_KEY.sub(lambda found: found[1] + _SPELLED[found[2].lower()], line)
        line = _UNIT.sub(r"\1", line)
        return _LIST.sub(lambda found: found["in"] or found["of"], line).strip()
