"""A reply that must be one JSON object, read strictly.

Owns what counts as one: from the first brace to the last, no key twice, no number that JSON does
not have. Knows no schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NoReturn, cast

from services.evaluator.judging.echoes import Echoes, words_of
from services.evaluator.judging.faults import Fault


class Unreadable(Exception):
    """A reply is no verdict; `fault` says why. It does not leave the package."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


def json_object(reply: str) -> tuple[dict[str, Any], str]:
    """Return the one object in a reply, and the text around it.

    Raises:
        Unreadable: there is none or more than one, or a key stands in it twice.
    """
    start, end = reply.find("{"), reply.rfind("}") + 1
    if not 0 <= start < end:
        raise Unreadable(Fault.NOT_JSON)
    try:
        told: object = json.loads(
            reply[start:end], object_pairs_hook=_object, parse_constant=_no_number
        )
    except (ValueError, RecursionError):
        raise Unreadable(Fault.NOT_JSON) from None
    before, after = reply[:start], reply[end:]
    if before.rstrip().endswith("[") or after.lstrip().startswith("]"):
        raise Unreadable(Fault.NOT_JSON)
    return cast("dict[str, Any]", told), f"{before}\n{after}"


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
