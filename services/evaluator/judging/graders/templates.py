"""Templates of OpenAI's graders: `{{item.a.b}}` and `{{sample.output_text}}`.

Owns what a placeholder is and how it is filled in: once, so that a value with braces stays what
it is. Knows no grader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from services.evaluator.judging.assessment import ReviewTask
from services.evaluator.judging.faults import Fault
from services.evaluator.judging.json_reply import Unreadable

_PLACEHOLDER = re.compile(r"\{\{\s*([^{}\n]{1,500}?)\s*\}\}")
_STEP = re.compile(r"[^.\[\]]+|\[[0-9]{1,6}\]")
_OUTPUT_JSON = "output_json"


def placeholders(template: str) -> list[tuple[str, ...]]:
    """Return the paths of a template's placeholders, such as `("item", "a", "b")`."""
    return [_steps(found[1]) for found in _PLACEHOLDER.finditer(template)]


def values_of(task: ReviewTask) -> dict[str, Any]:
    """Return what placeholders name: `item`, the dataset's row, and `sample`, the answer.

    A question that comes from no dataset is the row itself.
    """
    question = task.question
    row = {
        "id": question.id,
        "question": question.text,
        "turns": question.turns,
        "category": question.category,
        "language": question.language,
        "references": question.references or [],
        "reference": (question.references or [""])[0],
    }
    turns = task.answers[0].turns if task.answers else ()
    return {
        "item": row if question.item is None else question.item,
        "sample": {"output_text": turns[-1] if turns else ""},
    }


def rendered(
    template: str, values: Mapping[str, Any], change: Callable[[str], str] = lambda value: value
) -> str:
    """Return `template` with its placeholders filled in by `values`, each passed to `change`.

    Raises:
        Unreadable: a placeholder names what is not there.
    """
    return _PLACEHOLDER.sub(lambda found: change(_text(_found(_steps(found[1]), values))), template)


def values_in(template: str, values: Mapping[str, Any]) -> list[str]:
    """Return the values that a template shows; raises as `rendered`."""
    return [_text(_found(path, values)) for path in placeholders(template)]


def _steps(path: str) -> tuple[str, ...]:
    return tuple(step.strip("[]").strip() for step in _STEP.findall(path))


def _found(path: tuple[str, ...], values: Mapping[str, Any]) -> Any:
    value: Any = values
    for step in path:
        if step == _OUTPUT_JSON and value is values.get("sample"):
            value = _parsed(value["output_text"])
        elif isinstance(value, Mapping) and step in value:
            value = cast("Mapping[str, Any]", value)[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(cast("Any", value)):
            value = cast("list[Any]", value)[int(step)]
        else:
            raise Unreadable(Fault.MISSING_VALUE)
    return value


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Unreadable(Fault.MISSING_VALUE) from None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)
