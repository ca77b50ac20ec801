"""Reading scores in a judge's text, strictly: one single reading, or none with the reason.

Owns the forms in which scores are written. The last line, where a judge is asked to put them,
decides when it holds scores; without it all the places that hold some must agree. Nothing is
guessed: a wrong count, a value out of range or a second reading leaves the text undecoded.
Knows no judge, prompt or question.
"""

from __future__ import annotations

import re
from typing import Any, cast

from services.evaluator.judging.verdicts.names import MAX_NAMES, NAME, index, name, with_names
from services.evaluator.judging.verdicts.readings import ScoreReading, ScoreRule
from services.evaluator.judging.verdicts.score_form import NUMBER, ScoreForm
from services.evaluator.judging.verdicts.structured import last_object, named_in_json
from services.evaluator.judging.verdicts.text import own_words, plain

_NUMBERS = rf"{NUMBER}(?:(?: ?[,;|&、] ?(?:and )?| and |和| ){NUMBER})*"
_WORD = r"(?:scores?|ratings?|grades?|marks?|verdict|overall|total|result|评分|得分|分数|总分|打分|スコア|評価|点数)"
_KEY = rf"(?:(?:my|the|final|overall|total|最终|最終|总体) ?){{0,3}}(?:{_WORD} ?(?:[:=]|\bis\b|\bare\b)|\[result\])"
_BARE_LINE = re.compile(rf"({_NUMBERS})[.。]?")
_KEYED_LINE = re.compile(rf"{_KEY} ?(.*)", re.IGNORECASE)
_KEY_AND_NUMBERS = re.compile(rf"{_WORD} ({_NUMBERS})[.。]?", re.IGNORECASE)
_LETTERED = re.compile(r"^([A-Z])(?= ?[:=] ?-?[0-9])")
_GIVEN = (
    rf"(?:'s)?(?: (?:final|overall|total))?(?: ?{_WORD})?(?: ?\((?:{_WORD} ?[:=]? ?)?|"
    r" ?(?:[:=|-]|=>|的?(?:评分|得分|分数)?[:是为]) ?| (?:gets?|receives?|scores?|earns?|deserves?|is|with) (?:an? |score of |a score of )?| an? )"
)
_LABELLED = re.compile(
    rf"(?P<name>{NAME}){_GIVEN}(?P<number>{NUMBER})\)?"
    rf"(?=[.;,|]? ?$|: |[ .,;|/&、]{{0,4}}(?:and )?{NAME}| ?[|(]| - |[.;,] ?[A-Z\u4e00-\u9fff]|[,;、])",
    re.IGNORECASE,
)
_BEFORE_NAME = re.compile(
    r"(?:^|[.,;|/:(、。] ?|\band |\bwhile |\bfor |\bof |\bgive |\brate |\bare |\bis )(?:the )?$",
    re.IGNORECASE,
)
_SCORE_KEYS = ("scores", "score", "ratings", "rating", "grades", "grade", "评分", "得分", "分数")


def parse_scores(text: str, n: int, low: float = 0, high: float = 10) -> list[float] | None:
    """Return the `n` scores between `low` and `high` that `text` gives, or None: undecoded."""
    reading = read_scores(text, n, low, high)
    return None if reading.scores is None else list(reading.scores)


def read_scores(text: str, n: int, low: float = 0, high: float = 10) -> ScoreReading:
    """Return the same with the rule by which it was read, or why it was not.

    Args:
        text: what the judge wrote.
        n: how many answers it was to score, from 1 to 26.
        low: the least score.
        high: the highest score; a score may also be written as `8/<high>`.

    Raises:
        ValueError: for another `n`, or if `low` is above `high`.
    """
    if not 1 <= n <= MAX_NAMES or not low <= high:
        msg = f"n is {n}, low {low:g}, high {high:g}: scores are of 1 to {MAX_NAMES} answers"
        raise ValueError(msg)
    form = ScoreForm(n, low, high)
    own = own_words(text)
    lines = [line for raw in plain(own).splitlines() if (line := form.without_units(raw))]
    if not lines:
        return ScoreReading(None, ScoreRule.NO_SCORE)
    if (in_json := _read_json(own, form)) is not None:
        return in_json
    last = len(lines) - 1
    if n > 1 and len(lines) > 1 and all(map(_BARE_LINE.fullmatch, lines)):
        return form.check(_values(" ".join(lines)), ScoreRule.BARE)
    found = _labelled([_named(line, n) for line in lines], form)
    for place, line in enumerate(lines):
        if any(place == each for each, _ in found):
            continue
        # Bare numbers amid a text are its own, not a verdict.
        reading = _read_line(line, form, bare=place in {0, last})
        if reading is not None:
            found.append((place, reading))
    return _decide(found, last)


def _named(line: str, n: int) -> str:
    """Return `line` with names; of several answers, `A: 8` names one too."""
    named = with_names(line, n)
    return _LETTERED.sub(lambda found: name(found[1], n), named) if n > 1 else named


def _decide(found: list[tuple[int, ScoreReading]], last: int) -> ScoreReading:
    readings = {reading for place, reading in found if place == last}
    readings = readings or {reading for _, reading in found}
    if not readings:
        return ScoreReading(None, ScoreRule.NO_SCORE)
    if len({reading.scores for reading in readings}) > 1:
        return ScoreReading(None, ScoreRule.CONTRADICTORY)
    return min(readings, key=lambda reading: list(ScoreRule).index(reading.rule))


def _read_line(line: str, form: ScoreForm, *, bare: bool) -> ScoreReading | None:
    """Return what one line says by itself; None: it is prose."""
    if keyed := _KEY_AND_NUMBERS.fullmatch(line):
        return form.check(_values(keyed[1]), ScoreRule.KEYED)
    if keyed := _KEYED_LINE.fullmatch(line):
        if numbers := _BARE_LINE.fullmatch(keyed[1]):
            return form.check(_values(numbers[1]), ScoreRule.KEYED)
        has_digit = any(character.isdigit() for character in keyed[1])
        return ScoreReading(None, ScoreRule.UNREADABLE) if has_digit else None
    if bare and (numbers := _BARE_LINE.fullmatch(line)):
        return form.check(_values(numbers[1]), ScoreRule.BARE)
    return None


def _labelled(lines: list[str], form: ScoreForm) -> list[tuple[int, ScoreReading]]:
    """Return what `Assistant 1: 8`, `Assistant 2: 9` say, in one line or over several."""
    given: dict[int, set[float]] = {}
    whole: list[tuple[int, ScoreReading]] = []
    place = -1
    for number, line in enumerate(lines):
        here: dict[int, set[float]] = {}
        for found in _LABELLED.finditer(line):
            if _BEFORE_NAME.search(line, max(0, found.start() - 12), found.start()) or here:
                here.setdefault(index(found["name"]), set()).add(float(found["number"]))
        for answer, values in here.items():
            given.setdefault(answer, set()).update(values)
            place = number
        if here and set(here) == set(range(1, form.count + 1)):
            whole.append((number, _of_names(here, form)))
    if form.count > 1 and whole:
        return whole
    return [(place, _of_names(given, form))] if given else []


def _of_names(given: dict[int, set[float]], form: ScoreForm) -> ScoreReading:
    if any(len(values) > 1 for values in given.values()):
        return ScoreReading(None, ScoreRule.CONTRADICTORY)
    if set(given) != set(range(1, form.count + 1)):
        return ScoreReading(None, ScoreRule.WRONG_COUNT)
    return form.check([min(given[answer]) for answer in sorted(given)], ScoreRule.LABELLED)


def _read_json(text: str, form: ScoreForm) -> ScoreReading | None:
    """Return what a JSON object at the text's end says; None: there is none that tells scores."""
    found = last_object(text)
    if found is None or any(each.isdigit() for each in found.after):
        return None
    values: Any = next((found.said[key] for key in _SCORE_KEYS if key in found.said), None)
    if values is None:
        values = {key: value for key, value in found.said.items() if named_in_json(key, form.count)}
    if isinstance(values, dict):
        told = cast("dict[str, object]", values)
        by_name = {named_in_json(key, form.count): value for key, value in told.items()}
        if not told:
            return None
        if set(by_name) != set(range(1, form.count + 1)) or len(told) != form.count:
            return ScoreReading(None, ScoreRule.WRONG_COUNT)
        values = [by_name[answer] for answer in sorted(by_name)]
    listed = cast("list[object]", values) if isinstance(values, list) else [values]
    numbers = [number for each in listed if (number := _number(each)) is not None]
    if len(numbers) != len(listed):
        return ScoreReading(None, ScoreRule.UNREADABLE)
    return form.check(numbers, ScoreRule.JSON)


def _number(value: object) -> float | None:
    if isinstance(value, str) and re.fullmatch(NUMBER, value.strip()):
        return float(value)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _values(numbers: str) -> list[float]:
    return [float(number) for number in re.findall(NUMBER, numbers)]
