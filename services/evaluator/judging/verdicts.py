"""Reading scores in a judge's text, strictly: one single reading, or none with the reason.

Owns the forms in which scores are written. The last line, where a judge is asked to put them,
decides when it holds scores; without it all the places that hold some must agree. Nothing is
guessed: a wrong count, a value out of range or a second reading leaves the text undecoded.
Knows no judge, prompt or question.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, cast

import orjson

_NUMBER = r"-?[0-9]{1,6}(?:\.[0-9]{1,6})?"
_NUMBERS = rf"{_NUMBER}(?:(?:\s*,\s*|\s+){_NUMBER})*"
_KEY = (
    r"(?:(?:my|the|final|overall|total)\s+){0,3}"
    r"(?:(?:scores?|ratings?|grades?|verdict|评分|得分|分数|总分)\s*(?:[:=]|\bis\b|\bare\b)|\[result\])"
)
_LABEL = (
    r"(?:assistant|answer|response|model|candidate|助手)\s*#?\s*([0-9]{1,2}|[a-z])\b"
    r"(?:'s)?\s*(?:score|rating)?\s*[:=]"
)
_ANY_LABEL = r"(?:assistant|answer|response|model|candidate|助手)\s*#?\s*(?:[0-9]{1,2}|[a-z])\b"

_BARE_LINE = re.compile(rf"({_NUMBERS})\.?")
_KEYED_LINE = re.compile(rf"{_KEY}\s*(.*)", re.IGNORECASE)
_LABELLED = re.compile(rf"{_LABEL}\s*({_NUMBER})\s*[.,;|/]*\s*(?=$|{_ANY_LABEL})", re.IGNORECASE)
_UNIT = re.compile(rf"({_NUMBER})\s*(?:points?\b|分)", re.IGNORECASE)
_LIST = re.compile(rf"\[{{1,2}}\s*({_NUMBERS})\s*\]{{1,2}}")
_EMPHASIS = re.compile(r"(?<![0-9])[*_`]+|[*_`]+(?![0-9])")
_LEAD = re.compile(r"^(?:#+\s+|[-•]\s+(?=[^\W\d]))")
_WIDE = str.maketrans("０１２３４５６７８９：．，／＝【】", "0123456789:.,/=[]")  # noqa: RUF001


class Rule(StrEnum):
    """How a text was read; from NO_SCORE on: why it was not."""

    JSON = "json"
    KEYED = "keyed_line"
    LABELLED = "labelled"
    BARE = "bare_line"
    NO_SCORE = "no_score"
    WRONG_COUNT = "wrong_count"
    OUT_OF_RANGE = "out_of_range"
    UNREADABLE = "unreadable"
    CONTRADICTORY = "contradictory"


@dataclass(frozen=True, slots=True)
class ScoreReading:
    """What a judge's text says; `scores` is None when it is undecoded."""

    scores: tuple[float, ...] | None
    rule: Rule


@dataclass(frozen=True, slots=True)
class _Form:
    """How many scores there must be, and between which bounds."""

    count: int
    low: float
    high: float

    def check(self, values: list[float], rule: Rule) -> ScoreReading:
        if len(values) != self.count:
            return ScoreReading(None, Rule.WRONG_COUNT)
        if not all(self.low <= value <= self.high for value in values):
            return ScoreReading(None, Rule.OUT_OF_RANGE)
        return ScoreReading(tuple(values), rule)


def parse_scores(text: str, n: int, low: float = 0, high: float = 10) -> list[float] | None:
    """Return the `n` scores between `low` and `high` that `text` gives, or None: undecoded."""
    reading = read_scores(text, n, low, high)
    return None if reading.scores is None else list(reading.scores)


def read_scores(text: str, n: int, low: float = 0, high: float = 10) -> ScoreReading:
    """Return the same with the rule by which it was read, or why it was not.

    Args:
        text: what the judge wrote.
        n: how many answers it was to score, at least 1.
        low: the least score.
        high: the highest score; a score may also be written as `8/<high>`.
    """
    form = _Form(n, low, high)
    lines = [line for raw in text.translate(_WIDE).splitlines() if (line := _plain(raw, form))]
    if not lines:
        return ScoreReading(None, Rule.NO_SCORE)
    if (in_json := _read_json(text, form)) is not None:
        return in_json
    last = len(lines) - 1
    found: list[tuple[int, ScoreReading]] = []
    for place, line in enumerate(lines):
        # Bare numbers amid a text are its own, not a verdict.
        reading = _read_line(line, form, bare=place in {0, last})
        if reading is not None:
            found.append((place, reading))
    if (labelled := _read_labels(lines, form)) is not None:
        found.append(labelled)
    return _decide(found, last)


def _decide(found: list[tuple[int, ScoreReading]], last: int) -> ScoreReading:
    readings = {reading for place, reading in found if place == last}
    readings = readings or {reading for _, reading in found}
    if not readings:
        return ScoreReading(None, Rule.NO_SCORE)
    if len({reading.scores for reading in readings}) > 1:
        return ScoreReading(None, Rule.CONTRADICTORY)
    return min(readings, key=lambda reading: list(Rule).index(reading.rule))


def _plain(line: str, form: _Form) -> str:
    """Return `line` without emphasis, bullets, brackets, units and `/<high>`."""
    # Runs of blanks first: several patterns would try each of them anew.
    line = _LEAD.sub("", _EMPHASIS.sub("", " ".join(line.split())).strip())
    of_high = rf"(?<![0-9./])({_NUMBER})\s*(?:/|\bout\s+of\b)\s*{form.high:g}(?![0-9/]|\.[0-9])"
    line = re.sub(of_high, r"\1", line, flags=re.IGNORECASE)
    line = _UNIT.sub(r"\1", line)
    return _LIST.sub(r"\1", line).strip()


def _read_line(line: str, form: _Form, *, bare: bool) -> ScoreReading | None:
    """Return what one line says by itself; None: it is prose."""
    if keyed := _KEYED_LINE.fullmatch(line):
        values = keyed[1]
        if numbers := _BARE_LINE.fullmatch(values):
            return form.check(_values(numbers[1]), Rule.KEYED)
        has_digit = any(character.isdigit() for character in values)
        return ScoreReading(None, Rule.UNREADABLE) if has_digit else None
    if bare and (numbers := _BARE_LINE.fullmatch(line)):
        return form.check(_values(numbers[1]), Rule.BARE)
    return None


def _read_labels(lines: list[str], form: _Form) -> tuple[int, ScoreReading] | None:
    """Return what `Assistant 1: 8`, `Assistant 2: 9` say together, placed at the last of them."""
    given: dict[int, set[float]] = {}
    place = 0
    for number, line in enumerate(lines):
        start = 0
        while piece := _LABELLED.match(line, start):
            label = piece[1].lower()
            index = int(label) if label.isdigit() else ord(label) - ord("a") + 1
            given.setdefault(index, set()).add(float(piece[2]))
            start, place = piece.end(), number
    if not given:
        return None
    if any(len(values) > 1 for values in given.values()):
        return place, ScoreReading(None, Rule.CONTRADICTORY)
    if set(given) != set(range(1, form.count + 1)):
        return place, ScoreReading(None, Rule.WRONG_COUNT)
    values = [given[index].pop() for index in sorted(given)]
    return place, form.check(values, Rule.LABELLED)


def _read_json(text: str, form: _Form) -> ScoreReading | None:
    """Return what a JSON object at the text's end says; None: there is none."""
    raw = "\n".join(line for line in text.splitlines() if not line.startswith("```")).strip()
    start = raw.rfind("\n{") + 1
    try:
        said: object = orjson.loads(raw[start:])
    except orjson.JSONDecodeError:
        return None
    if not isinstance(said, dict):
        return None
    told = cast("dict[str, object]", said)
    values = told.get("scores", told.get("score"))
    if values is None:
        return ScoreReading(None, Rule.NO_SCORE)
    listed = cast("list[object]", values) if isinstance(values, list) else [values]
    numbers = [float(value) for value in listed if type(value) in {int, float}]  # type: ignore[arg-type]
    if len(numbers) != len(listed):
        return ScoreReading(None, Rule.UNREADABLE)
    return form.check(numbers, Rule.JSON)


def _values(numbers: str) -> list[float]:
    return [float(number) for number in re.findall(_NUMBER, numbers)]


_CHAIN = re.compile(rf"{_ANY_LABEL}(?:\s*[>=]\s*{_ANY_LABEL})+", re.IGNORECASE)
_NAMED = re.compile(r"([>=]?)\s*\w+\s*#?\s*([0-9]{1,2}|[a-z])\b", re.IGNORECASE)


class OrderRule(StrEnum):
    """How an order was read."""

    CHAIN = "chain"
    NO_ORDER = "no_order"


@dataclass(frozen=True, slots=True)
class OrderReading:
    """The order that a text gives."""

    ranks: tuple[int, ...] | None
    rule: OrderRule
    confidence: Literal["high", "low"] = "high"


def read_order(text: str, n: int) -> OrderReading:
    """Return the last whole chain of a text."""
    for found in reversed(list(_CHAIN.finditer(text))):
        ranks: dict[int, int] = {}
        for sign, label in _NAMED.findall(found[0]):
            place = int(label) if label.isdigit() else ord(label.lower()) - ord("a") + 1
            tied = sign == "=" and bool(ranks)
            ranks[place] = list(ranks.values())[-1] if tied else len(ranks) + 1
        if sorted(ranks) == list(range(1, n + 1)):
            return OrderReading(tuple(ranks[place] for place in sorted(ranks)), OrderRule.CHAIN)
    return OrderReading(None, OrderRule.NO_ORDER)
