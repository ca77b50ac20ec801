"""The JSON schemas of verdicts, and what an object of such a schema says.

Owns the shapes. The reasons come first: a server that holds a model to a schema writes its
properties in this order, so the verdict is written after the reasons were.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

from services.evaluator.judging.faults import Fault
from services.evaluator.judging.json_reply import Unreadable
from services.evaluator.judging.rankings import competition_ranks

REASON = "reason"
_TEXT: dict[str, Any] = {"type": "string"}


def assistant_key(place: int) -> str:
    """Return the key of the answer in a place, from 0."""
    return f"assistant_{place + 1}"


def ranks_schema(answers: int) -> dict[str, Any]:
    """Return the schema of an order: a rank for each answer."""
    rank = {"type": "integer", "enum": list(range(1, answers + 1))}
    return _verdict("ranks", _each(answers, rank))


def scores_schema(answers: int, low: float, high: float) -> dict[str, Any]:
    """Return the schema of scores: one, or one for each answer."""
    number = {"type": "number", "minimum": _whole(low), "maximum": _whole(high)}
    if answers == 1:
        return _verdict("score", number)
    return _verdict("scores", _each(answers, number))


def choice_schema(key: str, values: Sequence[str]) -> dict[str, Any]:
    """Return the schema of one of several words."""
    return _verdict(key, {"type": "string", "enum": list(values)})


def response_format(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the parameter of a chat request that holds its reply to `schema`."""
    return {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "strict": True, "schema": schema},
    }


def read_ranks(told: dict[str, Any], answers: int) -> list[int]:
    """Return the competition ranks that an object gives.

    Raises:
        Unreadable: keys, values or the ranking are not as asked for.
    """
    values = _per_answer(_value(told, "ranks"), answers)
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        raise Unreadable(Fault.WRONG_TYPE)
    if not all(1 <= value <= answers for value in values):
        raise Unreadable(Fault.OUT_OF_RANGE)
    ranks = competition_ranks(values)
    if ranks is None:
        raise Unreadable(Fault.NO_RANKING)
    return ranks


def read_scores_object(told: dict[str, Any], answers: int, low: float, high: float) -> list[float]:
    """Return the scores that an object gives; raises as `read_ranks`."""
    if answers == 1 and "score" in told:
        values = [_value(told, "score")]
    else:
        values = _per_answer(_value(told, "scores"), answers)
    return [_number(value, low, high) for value in values]


def read_choice(told: dict[str, Any], key: str, values: Sequence[str]) -> str:
    """Return the word that an object chooses; raises as `read_ranks`."""
    value = _value(told, key)
    if not isinstance(value, str):
        raise Unreadable(Fault.WRONG_TYPE)
    if value not in values:
        raise Unreadable(Fault.UNKNOWN_LABEL)
    return value


def _verdict(key: str, schema: dict[str, Any]) -> dict[str, Any]:
    return _closed({REASON: _TEXT, key: schema})


def _each(answers: int, schema: dict[str, Any]) -> dict[str, Any]:
    return _closed({assistant_key(place): schema for place in range(answers)})


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _whole(bound: float) -> float | int:
    return int(bound) if bound == int(bound) else bound


def _value(told: dict[str, Any], key: str) -> Any:
    if key not in told or not told.keys() <= {REASON, key}:
        raise Unreadable(Fault.WRONG_KEYS)
    return told[key]


def _per_answer(value: Any, answers: int) -> list[Any]:
    """Return one value for each answer: of an object by name, of a list by place."""
    if isinstance(value, list):
        listed = cast("list[Any]", value)
        if len(listed) != answers:
            raise Unreadable(Fault.WRONG_COUNT)
        return listed
    if not isinstance(value, dict):
        raise Unreadable(Fault.WRONG_TYPE)
    named = cast("dict[str, Any]", value)
    keys = [assistant_key(place) for place in range(answers)]
    if set(named) != set(keys):
        raise Unreadable(Fault.WRONG_COUNT)
    return [named[key] for key in keys]


def _number(value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unreadable(Fault.WRONG_TYPE)
    # Compared as it is: an integer of any length is out of range, and not an overflow.
    if not low <= value <= high or math.isnan(value):
        raise Unreadable(Fault.OUT_OF_RANGE)
    return float(value)
