"""Reading the specs of evals and runs: a body becomes a spec, or all of its faults at once.

Owns the JSON pointers and texts of faults, and the list of what is planned but not served yet.
A fault's text never quotes the body. Shapes and bounds are in `shared.protocol.evals`.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from pydantic import ValidationError

from shared.errors import InvalidSpec
from shared.protocol.evals import MAX_QUESTIONS, EvalSpec, RunSpec

MAX_FAULTS = 100
"""Faults told in one answer; more of them would repeat themselves."""

_TEXTS = {
    "missing": "is missing",
    "extra_forbidden": "is unknown",
    "string_pattern_mismatch": "is blank",
}
_PLANNED = {
    # where, with list indices as *: the names or values to come
    "": {"applies_to", "length_control", "reference", "repeats", "swap"}
    | {"answers_from_run", "concurrency", "dry_run", "fail_on_error", "limits"},
    "/dimensions/*": {"coherence", "diversity", "immersion", "integrity", "relevance"},
    "/mode": {"ordering", "pairwise"},
    "/judge": {"base_url_ref", "logprobs", "response_format", "sampling"},
    "/candidates/*": {"answers", "base_url_ref"},
}

Fault = tuple[str, str]
Spec = TypeVar("Spec", EvalSpec, RunSpec)


def parse_eval(body: dict[str, Any]) -> EvalSpec:
    """Return the validated eval in which every question has an id of its own.

    Raises:
        InvalidSpec: all faults at once, each by its JSON pointer.
    """
    ids = _ids(body.get("questions"))
    dimensions = _as_list(body.get("dimensions"))
    repeated = [
        *_repeated(ids, "/questions/{}/id"),
        *_repeated(dimensions, "/dimensions/{}"),
    ]
    spec = _parse(EvalSpec, body, repeated)
    questions = [
        question.model_copy(update={"id": question_id})
        for question, question_id in zip(spec.questions, ids, strict=True)
    ]
    return spec.model_copy(update={"questions": questions})


def parse_run(body: dict[str, Any]) -> RunSpec:
    """Return the validated run; raises as `parse_eval`."""
    return _parse(RunSpec, body, [])


def _parse(shape: type[Spec], body: dict[str, Any], more: list[Fault]) -> Spec:
    faults: list[Fault] = []
    spec: Spec | None = None
    try:
        spec = shape.model_validate(body)
    except ValidationError as fault:
        faults = [_fault(error) for error in fault.errors(include_url=False)]
    faults += more
    if spec is None or faults:
        raise InvalidSpec(_bounded(faults))
    return spec


def _fault(error: Any) -> Fault:
    """Return pointer and text of one of pydantic's errors."""
    location: tuple[int | str, ...] = error["loc"]
    kind: str = error["type"]
    pointer = "".join(f"/{_escaped(part)}" for part in location)
    message: str = error["msg"]
    text = _TEXTS.get(kind, message[:1].lower() + message[1:])
    if kind == "extra_forbidden" and location[-1] in _planned(location[:-1]):
        text = "is not served yet; leave it out"
    elif kind == "literal_error" and str(error["input"]) in _planned(location):
        text = f"this value is not served yet; {text}"
    elif kind == "too_long" and pointer == "/candidates":
        text = "more than one is not served yet"
    return pointer, text


def _planned(location: tuple[int | str, ...]) -> set[str]:
    place = "".join("/*" if isinstance(part, int) else f"/{part}" for part in location)
    return _PLANNED.get(place, set())


def _ids(questions: object) -> list[object]:
    """Return the id of each question: its own, else its place counted from 1."""
    ids: list[object] = []
    for place, question in enumerate(_as_list(questions), start=1):
        own = cast("dict[str, object]", question).get("id") if isinstance(question, dict) else None
        ids.append(str(place) if own is None else own)
    return ids


def _repeated(values: list[object], pointer: str) -> list[Fault]:
    """Return a fault for each text that stands in `values` a second time."""
    first: dict[str, int] = {}
    faults: list[Fault] = []
    for place, value in enumerate(values):
        if isinstance(value, str) and first.setdefault(value, place) != place:
            faults.append((pointer.format(place), f"the same as {pointer.format(first[value])}"))
    return faults


def _as_list(value: object) -> list[object]:
    # A longer list is refused for its length anyhow.
    return cast("list[object]", value)[:MAX_QUESTIONS] if isinstance(value, list) else []


def _escaped(part: int | str) -> str:
    """Return a reference token of RFC 6901."""
    return str(part).replace("~", "~0").replace("/", "~1")


def _bounded(faults: list[Fault]) -> list[Fault]:
    more = len(faults) - MAX_FAULTS
    return [*faults[:MAX_FAULTS], ("", f"and {more} more faults")] if more > 0 else faults
