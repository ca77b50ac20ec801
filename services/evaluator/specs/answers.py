"""Answers that come with a candidate: in our form or in those of LLMZoo's and FastChat's files.

Owns whether they are answers to the eval's questions, each once and with all of its turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from services.evaluator.sealed_rows import SealedRows, Sealing
from services.evaluator.specs.findings import Findings, child, listed
from services.evaluator.specs.questions import id_text
from services.evaluator.specs.shapes import Fields, as_list, as_object, renamed, validated
from shared.protocol.evals.base import MAX_QUESTIONS
from shared.protocol.evals.run import GivenAnswer

_ONE_TURN = frozenset({"text"})
_OF_FILES = ("answer_id", "model_id", "metadata", "tstamp")
"""What LLMZoo's and FastChat's rows tell beside, which measures nothing."""


def read_answers(
    value: object, turns: Mapping[str, int], findings: Findings, where: str
) -> SealedRows[GivenAnswer]:
    """Return the answers that fit; a fault for each of the others.

    Args:
        value: the list.
        turns: how many turns each question has, by its id.
        findings: gets the faults.
        where: the list's pointer.
    """
    found = Sealing(GivenAnswer)
    seen: set[str] = set()
    unknown: list[str] = []
    for place, row in enumerate(as_list(value, findings, where, MAX_QUESTIONS)):
        here = child(where, place)
        content = as_object(row, findings, here)
        answer = content and validated(GivenAnswer, _fields(content, findings, here), findings)
        if answer is None or isinstance(answer, dict):
            continue
        if answer.question_id not in turns:
            unknown.append(answer.question_id)
        elif answer.question_id in seen:
            findings.add(here, "is a second answer to its question")
        elif len(answer.turns) != turns[answer.question_id]:
            asked = turns[answer.question_id]
            findings.add(here, f"has {len(answer.turns)} turns; the question has {asked}")
        else:
            found.add(answer)
        seen.add(answer.question_id)
    if unknown:
        findings.add(where, f"answers questions that the eval does not have: {listed(unknown)}")
    return found.rows()


def check_complete(
    answers: Sequence[GivenAnswer], turns: Mapping[str, int], findings: Findings, where: str
) -> None:
    """Note the questions without an answer, of a candidate that nobody can ask."""
    given = {answer.question_id for answer in answers}
    lacking = [name for name in turns if name not in given]
    if lacking:
        findings.add(where, f"has no answers to {listed(lacking)}, and no model to ask")


def _fields(value: dict[str, Any], findings: Findings, where: str) -> Fields:
    fields = renamed(value, findings, where, {"text": "turns"}, _ONE_TURN).without(*_OF_FILES)
    values = fields.values
    values["question_id"] = id_text(values.get("question_id"))
    choices = values.get("choices")
    if "turns" not in values and isinstance(choices, list) and choices:
        first = cast("list[object]", choices)[0]
        values["turns"] = cast("Any", first).get("turns") if isinstance(first, dict) else first
        del values["choices"]
    return fields
