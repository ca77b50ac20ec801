"""Orders that a judge writes as JSON, though it was asked for text.

An object counts if it has a key that tells a verdict. What its values say must have one reading:
`[2, 3, 1]` under `order` could be places or names, and is read where both come to the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import orjson

from services.evaluator.judging.verdicts.context import meant, reported
from services.evaluator.judging.verdicts.names import UNKNOWN, index, indices, name, with_names
from services.evaluator.judging.verdicts.ranking import from_places, ranks_of_tiers
from services.evaluator.judging.verdicts.readings import OrderReading, OrderRule

_PLACES = ("ranks", "rank", "places", "排名", "名次")
_ORDERS = ("ranking", "rankings", "order", "ordering", "final_order", "final_ranking", "排序")
_WINNERS = (
    "verdict", "final_verdict", "winner", "better", "choice", "preference", "preferred", "best",
    "decision", "judgment", "judgement", "answer", "result", "胜者", "结论",
)  # fmt: skip
_TIE = re.compile(r"(?:a )?(?:tie|tied|draw|equal|both|=|平局)", re.IGNORECASE)
_PAIR = 2
_OPENING = re.compile(r"\{")
_TRIED = 64
"""Opening braces, from the end, at which an object is looked for."""

Ranks = tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Found:
    """A JSON object in a text."""

    said: dict[str, Any]
    after: str
    """What the text says behind it."""


def last_object(text: str) -> Found | None:
    """Return the last JSON object that stands in `text`, by itself or in a fence.

    One that a sentence only tells of, as what an answer contains, is not the judge's.
    """
    end = text.rfind("}") + 1
    for start in [found.start() for found in _OPENING.finditer(text, 0, end)][-_TRIED:]:
        try:
            said: object = orjson.loads(text[start:end])
        except orjson.JSONDecodeError:
            continue
        line = text[text.rfind("\n", 0, start) + 1 : start]
        if isinstance(said, dict) and meant(line, "") and not reported(line):
            told = {
                str(key).lower().strip().replace(" ", "_"): value
                for key, value in cast("dict[str, Any]", said).items()
            }
            return Found(told, text[end:])
    return None


def read_json(
    text: str, n: int, read_text: Callable[[str, int], OrderReading]
) -> OrderReading | None:
    """Return what a JSON object in `text` says; None: there is none that tells a verdict.

    A verdict in the text behind it goes before it: the last one counts.
    """
    found = last_object(text)
    if found is None:
        return None
    readings: list[Ranks] = []
    for keys, read in ((_PLACES, _places), (_ORDERS, _order), (_WINNERS, _winner)):
        for key in keys:
            if key in found.said:
                value = found.said[key]
                ranks = read(value, n)
                if ranks is None and isinstance(value, str):
                    ranks = read_text(value, n).ranks
                readings.append(ranks)
    if not readings or read_text(found.after, n).ranks:
        return None
    if len(set(readings)) > 1:
        return OrderReading(None, OrderRule.CONTRADICTORY)
    return OrderReading(readings[0], OrderRule.JSON if readings[0] else OrderRule.UNREADABLE)


def _places(value: object, n: int) -> Ranks:
    """Return ranks told as a list in the order of the answers, or by name."""
    if isinstance(value, dict):
        told = cast("dict[str, object]", value)
        by_name = {named_in_json(key, n): place for key, place in told.items()}
        if set(by_name) != set(range(1, n + 1)) or len(told) != n:
            return None
        return _places([by_name[answer] for answer in range(1, n + 1)], n)
    numbers = _whole_numbers(value)
    return from_places(numbers) if numbers is not None and len(numbers) == n else None


def _order(value: object, n: int) -> Ranks:
    """Return ranks told as names, best first; equals as a list in the list."""
    if isinstance(value, dict):
        return _places(cast("object", value), n)
    if not isinstance(value, list):
        return None
    numbers = _whole_numbers(cast("object", value))
    if numbers is not None:
        as_names = ranks_of_tiers([[number] for number in numbers], n)
        as_places = from_places(numbers) if len(numbers) == n else None
        both = {each for each in (as_names, as_places) if each is not None}
        return both.pop() if len(both) == 1 else None
    tiers: list[list[int]] = []
    for tier in cast("list[object]", value):
        names = cast("list[object]", tier) if isinstance(tier, list) else [tier]
        tiers.append([named_in_json(each, n) for each in names])
    return ranks_of_tiers(tiers, n)


def _winner(value: object, n: int) -> Ranks:
    """Return the ranks of two, of whom one is named as the better, or a tie."""
    if isinstance(value, list | dict):
        return _order(cast("object", value), n)
    if n != _PAIR:
        return None
    if isinstance(value, str) and (_TIE.fullmatch(value.strip()) or value.strip() == "C"):
        return (1, 1)
    return {1: (1, 2), 2: (2, 1)}.get(named_in_json(value, n))


def named_in_json(value: object, n: int) -> int:
    """Return the number of the answer that a JSON value names; 0: none."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return 0
    label = str(value).strip()
    if re.fullmatch(r"[0-9]{1,2}|[A-Za-z]", label):
        found = name(label, n)
        return 0 if found == UNKNOWN else index(found)
    named = with_names(label, n)
    found_all = indices(named)
    return found_all[0] if len(found_all) == 1 and len(named.strip()) == 1 else 0


def _whole_numbers(value: object) -> list[int] | None:
    listed = cast("list[object]", value) if isinstance(value, list) else []
    numbers = [each for each in listed if isinstance(each, int) and not isinstance(each, bool)]
    return numbers if listed and len(numbers) == len(listed) else None
