"""The bytes of an evaluation request: a JSON object, or what is wrong with them as JSON.

Stricter than JSON itself: a key that stands twice in an object, or a whole number that no 64 bits
hold, would silently become something else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

from services.evaluator.specs.findings import Findings, child
from shared.protocol.body import parse_object

_MOST_DIGITS = 18
"""Of a whole number that surely fits into 64 bits."""


class _Pairs(list[tuple[str, Any]]):
    """An object of JSON with all of its keys, also those that stand twice."""

    __slots__ = ()


class _Beyond:
    """A whole number of too many digits."""

    __slots__ = ()


def parse_body(raw: bytes) -> dict[str, Any]:
    """Return the JSON object that `raw` is.

    Raises:
        InvalidRequest: no JSON object, or nested too deep.
        InvalidSpec: keys that stand twice and numbers that are too long, by their pointers.
    """
    body = parse_object(raw)
    if _suspicious(raw):
        findings = Findings()
        _look(json.loads(raw, object_pairs_hook=_Pairs, parse_int=_whole), findings)
        findings.raise_if_any()
    return body


def _suspicious(raw: bytes) -> bool:
    """Return whether some object has a key twice or some whole number is too long."""
    found = False

    def check(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or (len(pairs) > 1 and len(dict(pairs)) < len(pairs))

    def whole(digits: str) -> int:
        nonlocal found
        found = found or len(digits) > _MOST_DIGITS
        return 0

    json.loads(raw, object_pairs_hook=check, parse_int=whole)
    return found


def _whole(digits: str) -> int | _Beyond:
    if len(digits) <= _MOST_DIGITS:
        return int(digits)
    # No text of thousands of digits is read as a number.
    fits = len(digits) <= _MOST_DIGITS + 2 and -(2**63) <= int(digits) < 2**63
    return int(digits) if fits else _Beyond()


def _look(value: object, findings: Findings) -> None:
    waiting: list[tuple[str, object]] = [("", value)]
    while waiting and not findings.full:
        where, value = waiting.pop()
        if isinstance(value, _Beyond):
            findings.add(where, "is a whole number beyond 64 bits")
        waiting += _inside(where, value, findings)


def _inside(where: str, value: object, findings: Findings) -> Iterator[tuple[str, object]]:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, content in value:
            if key in seen:
                findings.add(child(where, key), "stands there twice")
            seen.add(key)
            yield child(where, key), content
    elif isinstance(value, list):
        for place, content in enumerate(cast("list[object]", value)):
            yield child(where, place), content
