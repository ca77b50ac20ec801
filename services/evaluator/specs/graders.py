"""OpenAI's `testing_criteria`: each becomes a grader, or faults.

Owns which kinds are served and their fields. How they grade is in `judging`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from services.evaluator.specs.findings import Findings, child
from services.evaluator.specs.messages import read_messages
from services.evaluator.specs.shapes import Fields, Object, as_list, as_object, validated
from services.evaluator.specs.templates import check_template
from shared.protocol.evals.spec import Grader

_MOST = 32
_FIELDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    # type: fields that it must have, and that it may have, beside type and name
    "label_model": (frozenset({"input", "labels", "model", "passing_labels"}), frozenset()),
    "score_model": (
        frozenset({"input", "model"}),
        frozenset({"range", "pass_threshold", "sampling_params"}),
    ),
    "string_check": (frozenset({"input", "operation", "reference"}), frozenset()),
    "text_similarity": (
        frozenset({"evaluation_metric", "input", "pass_threshold", "reference"}),
        frozenset(),
    ),
}
_NOT_SERVED = ("python", "multi", "endpoint")
_MODELS = frozenset({"label_model", "score_model"})


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_SAMPLING: dict[str, Callable[[Any], bool]] = {
    "seed": _whole,
    "temperature": lambda value: _number(value) and 0 <= value <= 2,  # noqa: PLR2004 - OpenAI's
    "top_p": lambda value: _number(value) and 0 < value <= 1,
    # Both spellings are OpenAI's.
    "max_completions_tokens": lambda value: _whole(value) and 1 <= value < 2**31,
    "max_completion_tokens": lambda value: _whole(value) and 1 <= value < 2**31,
}


@dataclass(frozen=True)
class GraderReader:
    """Reads the graders of one eval."""

    schema: Mapping[str, Any]
    """JSON schema of the rows that templates read."""
    metrics: Collection[str]
    """Metrics of text similarity that are served."""
    findings: Findings

    def read(self, value: object) -> list[Grader]:
        """Return the graders that fit; a fault for each of the others."""
        where = "/testing_criteria"
        found: list[Grader] = []
        for place, row in enumerate(as_list(value, self.findings, where, _MOST, least=1)):
            here = child(where, place)
            content = as_object(row, self.findings, here)
            grader = content and self._grader(content, here, place)
            if isinstance(grader, Grader):
                found.append(grader)
        return found

    def _grader(self, content: Object, where: str, place: int) -> Grader | None:
        kind = content.get("type")
        if not isinstance(kind, str) or kind not in _FIELDS:
            known = ", ".join(_FIELDS)
            served = "is not served" if kind in _NOT_SERVED else "is unknown"
            self.findings.add(child(where, "type"), f"{served}; served are {known}")
            return None
        content = {name: value for name, value in content.items() if value is not None}
        self._check_fields(kind, content, where)
        values = {name: value for name, value in content.items() if name in Grader.model_fields}
        values["id"] = f"grader_{place + 1}"
        if kind in _MODELS:
            values["input"] = self._messages(content.get("input"), where)
            self._note_model(content.get("model"), where)
        else:
            for name in ("input", "reference"):
                if isinstance(content.get(name), str):
                    self._check_text(content[name], child(where, name))
        if kind == "score_model":
            values.setdefault("range", [0, 1])
        grader = validated(Grader, Fields(where, values), self.findings)
        if grader is not None:
            self._check_together(grader, where)
        return grader

    def _check_fields(self, kind: str, content: Object, where: str) -> None:
        """Note fields that are missing or of another kind of grader."""
        required, optional = _FIELDS[kind]
        for name in sorted(required - content.keys()):
            self.findings.add(child(where, name), "is missing")
        for name in content.keys() - required - optional - {"type", "name"}:
            self.findings.add(child(where, name), "is unknown")
        if kind not in _MODELS:
            for name in ("input", "reference"):
                if not isinstance(content.get(name, ""), str):
                    self.findings.add(child(where, name), "should be a text")
        sampling = content.get("sampling_params")
        if isinstance(sampling, dict):
            check_sampling(sampling, self.findings, child(where, "sampling_params"))  # pyright: ignore[reportUnknownArgumentType]

    def _messages(self, value: object, where: str) -> list[dict[str, Any]]:
        at = child(where, "input")
        if value is None:
            return []
        read = read_messages(value, self.findings, at)
        for pointer, message in read:
            self._check_text(message.content, pointer)
        return [message.model_dump() for _, message in read]

    def _check_text(self, text: str, where: str) -> None:
        check_template(text, self.schema, self.findings, where)

    def _note_model(self, model: object, where: str) -> None:
        if isinstance(model, str) and model:
            self.findings.models.append((child(where, "model"), model))

    def _check_together(self, grader: Grader, where: str) -> None:
        """Note what a grader's fields must have in common."""
        add = self.findings.add
        labels, passing = grader.labels or [], grader.passing_labels or []
        if grader.type == "label_model":
            if grader.labels == [] or len(set(labels)) < len(labels) or "" in labels:
                add(child(where, "labels"), "should be labels that differ from each other")
            if grader.passing_labels == [] or not set(labels).issuperset(passing):
                add(child(where, "passing_labels"), "should be some of 'labels'")
        if grader.range is not None:
            low, high = grader.range
            if low >= high:
                add(child(where, "range"), "should be the lower bound and then the higher one")
            elif grader.pass_threshold is not None and not low <= grader.pass_threshold <= high:
                add(child(where, "pass_threshold"), "lies outside of 'range'")
        if grader.evaluation_metric is not None and grader.evaluation_metric not in self.metrics:
            known = ", ".join(sorted(self.metrics))
            add(child(where, "evaluation_metric"), f"is not served; served are {known}")


def check_sampling(
    values: Mapping[str, Any],
    findings: Findings,
    where: str,
    known: Mapping[str, Callable[[Any], bool]] = _SAMPLING,
) -> None:
    """Note settings that are not served or out of range; null is none."""
    for name, value in values.items():
        if value is None:
            continue
        if name not in known:
            findings.add(child(where, name), "is not served")
        elif not known[name](value):
            findings.add(child(where, name), "is out of range or of another type")
