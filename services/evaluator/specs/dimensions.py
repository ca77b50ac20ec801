"""The dimensions of an eval, to which questions each applies, and how much each weighs.

Owns the defaults: immersion is judged on role play, integrity on questions of ethics.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast, get_args

from services.evaluator.specs.findings import Findings, child
from services.evaluator.specs.shapes import Fields, as_list, as_object, validated
from shared.protocol.evals.spec import DimensionName, Filter, Rubric

BUILT_IN: tuple[str, ...] = get_args(DimensionName)
DEFAULT_FILTERS = {
    "immersion": Filter(category=["roleplay"]),
    "integrity": Filter(category=["ethics"]),
}
_MOST = 32


@dataclass
class Dimensions:
    """What was read of a list of dimensions."""

    valid: list[DimensionName | Rubric] = field(default_factory=list["DimensionName | Rubric"])
    places: dict[str, str] = field(default_factory=dict[str, str])
    """The pointer of each name, also of those that do not fit."""


def read_dimensions(value: object, findings: Findings) -> Dimensions:
    """Return the dimensions that fit; a fault for each of the others."""
    found = Dimensions()
    for place, row in enumerate(as_list(value, findings, "/dimensions", _MOST)):
        where = child("/dimensions", place)
        dimension = _dimension(row, findings, where)
        name = _name(row)
        if name is None:
            continue
        if name in found.places:
            findings.add(where, f"has the name of {found.places[name]}")
            continue
        found.places[name] = where
        if dimension is not None:
            found.valid.append(dimension)
    return found


def read_filters(value: object, findings: Findings, names: Iterable[str]) -> dict[str, Filter]:
    """Return to which questions each dimension applies, defaults included."""
    known = list(names)
    filters = {name: rule for name, rule in DEFAULT_FILTERS.items() if name in known}
    if value is None:
        return filters
    for name, rule in (as_object(value, findings, "/applies_to") or {}).items():
        where = child("/applies_to", name)
        if name not in known:
            findings.add(where, "is no dimension of this eval")
        read = _filter(rule, findings, where)
        if read is not None and name in known:
            filters[name] = read
    return filters


def check_applying(
    dimensions: Dimensions,
    filters: dict[str, Filter],
    labels: list[tuple[object, object]],
    findings: Findings,
) -> None:
    """Note each dimension that applies to none of the questions."""
    if not labels:
        return
    for name, where in dimensions.places.items():
        rule = filters.get(name)
        if rule is not None and not any(_fits(rule, *each) for each in labels):
            findings.add(where, "applies to none of the questions; see 'applies_to'")


def _dimension(value: object, findings: Findings, where: str) -> DimensionName | Rubric | None:
    if isinstance(value, str):
        if value in BUILT_IN:
            return cast("DimensionName", value)
        findings.add(where, f"is none of {', '.join(BUILT_IN)}, and no rubric")
        return None
    content = as_object(value, findings, where)
    if content is None:
        return None
    rubric = validated(Rubric, Fields(where, content), findings)
    if content.get("name") in BUILT_IN:
        findings.add(child(where, "name"), "is the name of a dimension that is built in")
        return None
    if rubric is not None and rubric.low >= rubric.high:
        findings.add(child(where, "low"), "should be less than 'high'")
        return None
    return rubric


def _name(value: object) -> str | None:
    named = cast("dict[str, object]", value).get("name") if isinstance(value, dict) else value
    return named if isinstance(named, str) else None


def _filter(value: object, findings: Findings, where: str) -> Filter | None:
    """Return a rule: an object of lists or single names, or `category=roleplay`."""
    if isinstance(value, str):
        name, equals, wanted = value.partition("=")
        if not equals or name not in Filter.model_fields:
            findings.add(where, "should be such as 'category=roleplay'")
            return None
        value = {name: wanted}
    content = as_object(value, findings, where)
    if content is None:
        return None
    single = {name for name, wanted in content.items() if isinstance(wanted, str)}
    values = {name: [wanted] if name in single else wanted for name, wanted in content.items()}
    return validated(Filter, Fields(where, values, wrapped=frozenset(single)), findings)


def _fits(rule: Filter, category: object, language: object) -> bool:
    right_category = rule.category is None or category in rule.category
    return right_category and (rule.language is None or language in rule.language)
