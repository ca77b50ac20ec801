"""A reply that must be one JSON object, read strictly.

Owns what counts as one: nothing before or after it but a code fence, no key twice, no number
that JSON does not have. Knows no schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn, cast

from services.evaluator.judging.echoes import Echoes, words_of
from services.evaluator.judging.faults import Fault

_FENCED = re.compile(r"\A```[A-Za-z]{0,10}\n(.*)\n```\Z", re.DOTALL)


class Unreadable(Exception):
    """A reply is no verdict; `fault` says why. It does not leave the package."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


def json_object(reply: str) -> dict[str, Any]:
    """Return the object that a reply consists of.

    Raises:
        Unreadable: it is empty, something else, or has a key twice.
    """
    text = reply.strip()
    if (fenced := _FENCED.match(text)) is not None:
        text = fenced[1].strip()
    if not text:
        raise Unreadable(Fault.EMPTY)
    try:
        told: object = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Unreadable(Fault.NOT_JSON) from None
    if not isinstance(told, dict):
        raise Unreadable(Fault.NOT_JSON)
    return cast("dict[str, Any]", told)


def is_echo(told: dict[str, Any], echoes: Echoes) -> bool:
    """Return whether each member of an object stands in the material, in whatever order.

    A text of several words may stand there without its key.
    """
    for key, value in _members(told):
        words = words_of(value)
        held = len(words) > 1 and echoes.holds(words)
        if words and not held and not echoes.holds(words_of(f"{key} {value}")):
            return False
    return True


def _members(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the keys with their values as texts, down to lists and single values."""
    if isinstance(value, dict):
        for name, inner in cast("dict[str, Any]", value).items():
            yield from _members(inner, name)
    elif isinstance(value, list):
        yield key, " ".join(_text(each) for each in cast("list[Any]", value))
    else:
        yield key, _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) != len(pairs):
        raise Unreadable(Fault.DUPLICATE_KEY)
    return told


def _no_number(constant: str) -> NoReturn:
    raise ValueError(constant)
