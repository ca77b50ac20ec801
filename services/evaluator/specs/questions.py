"""The questions of an eval: in our form, in those of LLMZoo and FastChat, or a set by its name.

Owns which names of a field are meant and that each question has an id of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import orjson

from services.evaluator.sealed_rows import Sealing
from services.evaluator.specs.findings import Findings, child
from services.evaluator.specs.shapes import Fields, as_list, as_object, renamed, validated
from shared.errors import NotFound
from shared.protocol.evals.base import MAX_QUESTIONS
from shared.protocol.evals.spec import Question

_NAMES = {
    "question_id": "id",
    "text": "turns",
    "query": "turns",
    "label": "category",
    "lang": "language",
    "reference": "references",
}
_ONE_TURN = frozenset({"text", "query"})
_UNREAD = object()
"""In the place of a line that is no JSON: its fault is told already."""

QuestionSet = Callable[[str], list[Question]]
"""Returns the set of a name; raises NotFound."""


@dataclass
class Questions:
    """What was read of a list of questions."""

    valid: Sequence[Question] = ()
    labels: list[tuple[object, object]] = field(default_factory=list[tuple[object, object]])
    """Category and language of each, also where something else of it is at fault."""


def read_questions(value: object, findings: Findings, load_set: QuestionSet) -> Questions:
    """Return the questions that fit, each with its id; a fault for each of the others."""
    where = "/questions"
    if isinstance(value, str):
        if not value.lstrip().startswith("{"):
            return _named(value, findings, load_set)
        value = _lines(value, findings)
    rows = as_list(value, findings, where, MAX_QUESTIONS, least=1)
    found, valid = Questions(), Sealing(Question)
    first: dict[str, int] = {}
    for place, row in enumerate(rows):
        here = child(where, place)
        content = None if row is _UNREAD else as_object(row, findings, here)
        if content is None:
            continue
        fields = _fields(content, findings, here, place)
        found.labels.append((fields.values.get("category"), fields.values.get("language")))
        own = fields.values["id"]
        if isinstance(own, str) and first.setdefault(own, place) != place:
            findings.add(fields.pointer("id"), f"the same as {child(where, first[own])}'s")
        question = validated(Question, fields, findings)
        if question is not None:
            valid.add(question)
    found.valid = valid.rows()
    return found


def id_text(value: object) -> object:
    """Return an id as text where it is a whole number, as in the files of other projects."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _named(name: str, findings: Findings, load_set: QuestionSet) -> Questions:
    try:
        questions = load_set(name)
    except NotFound:
        findings.add("/questions", "there is no set of questions of this name")
        return Questions()
    return Questions(questions, [(each.category, each.language) for each in questions])


def _lines(text: str, findings: Findings) -> list[Any]:
    """Return the objects of a text of JSON lines."""
    rows: list[Any] = []
    # By line feeds alone: a text in JSON may hold what Unicode takes for the end of a line.
    for line in text.split("\n"):
        if line.strip():
            try:
                rows.append(orjson.loads(line))
            except orjson.JSONDecodeError:
                findings.add(child("/questions", len(rows)), "the line is not valid JSON")
                rows.append(_UNREAD)
    return rows


def _fields(value: dict[str, Any], findings: Findings, where: str, place: int) -> Fields:
    """Return a question's fields under our names, with an id: its place from 1 if it had none."""
    fields = renamed(value, findings, where, _NAMES, _ONE_TURN)
    values = fields.values
    own = values.get("id")
    values["id"] = str(place + 1) if own is None else id_text(own)
    references = values.get("references")
    if isinstance(references, str):
        values["references"] = [references]
    if "turns" not in values and isinstance(values.get("messages"), list):
        values["turns"] = _last_user_text(values["messages"])
    return fields


def _last_user_text(messages: list[object]) -> list[object]:
    """Return what a question with a whole prompt asks at last."""
    for message in reversed(messages):
        if isinstance(message, dict):
            content = cast("dict[str, object]", message)
            if content.get("role") == "user":
                return [content.get("content")]
    return []
