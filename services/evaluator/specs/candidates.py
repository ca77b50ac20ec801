"""The candidates of a run: names of models, or models and answers with all that is said of them.

Owns their names, and who has to be asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from services.evaluator.specs.answers import check_complete, read_answers
from services.evaluator.specs.findings import Findings, child
from services.evaluator.specs.judges import join_endpoint
from services.evaluator.specs.shapes import Fields, as_list, as_object, renamed, validated
from shared.protocol.evals.base import MAX_CANDIDATES
from shared.protocol.evals.run import Candidate, GivenAnswer
from shared.protocol.evals.spec import EvalSpec, Mode


@dataclass(frozen=True)
class Earlier:
    """What an earlier run of the same eval brought: its candidates with the answers they gave."""

    candidates: Mapping[str, Candidate] = field(default_factory=dict[str, Candidate])


def turns_of(spec: EvalSpec) -> dict[str, int]:
    """Return how many turns each question has, by its id."""
    return {question.id or "": len(question.turns) for question in spec.questions}


def read_candidates(
    value: object,
    turns: Mapping[str, int],
    findings: Findings,
    earlier: Earlier | None = None,
    *,
    asked: bool = True,
) -> list[Candidate]:
    """Return the candidates that fit; a fault for each of the others.

    Args:
        value: the list.
        turns: how many turns each question has, by its id.
        findings: gets the faults, and the models to look for.
        earlier: whose answers a candidate of the same name has, if it brings none.
        asked: whether answers are needed at all.
    """
    where = "/candidates"
    found: list[Candidate] = []
    names: dict[str, str] = {}
    for place, row in enumerate(as_list(value, findings, where, MAX_CANDIDATES, least=1)):
        here = child(where, place)
        candidate, at = _candidate(row, turns, findings, here)
        if candidate is None:
            continue
        if candidate.name in names:
            text = f"has the name of {names[candidate.name]}; give each a 'name' of its own"
            findings.add(at, text)
        names.setdefault(candidate.name, here)
        candidate = _with_earlier(candidate, earlier)
        if asked:
            _check_asking(candidate, turns, findings, here, bare=isinstance(row, str))
        found.append(candidate)
    return found


def read_earlier(earlier: Earlier, turns: Mapping[str, int], findings: Findings) -> list[Candidate]:
    """Return all candidates of an earlier run; a fault for each that lacks answers for good."""
    where = "/answers_from_run"
    for candidate in earlier.candidates.values():
        if candidate.model is None:
            check_complete(candidate.answers or [], turns, findings, where)
        elif len(candidate.answers or []) < len(turns):
            findings.models.append((where, candidate.model))
    return list(earlier.candidates.values())


def check_rivals(spec: EvalSpec, candidates: list[Candidate], findings: Findings) -> None:
    """Note too few of them for the eval's mode, and a baseline that is none of them."""
    if spec.dimensions and spec.mode is not Mode.SCORING and len(candidates) == 1:
        text = f"has 1 entry; the mode {spec.mode} takes 2 to {MAX_CANDIDATES}"
        findings.add("/candidates", text)
    if spec.baseline is not None and spec.baseline not in {each.name for each in candidates}:
        findings.add("/candidates", "lacks the eval's baseline")


def _candidate(
    value: object, turns: Mapping[str, int], findings: Findings, where: str
) -> tuple[Candidate | None, str]:
    """Return a candidate and the pointer of its name."""
    if isinstance(value, str):
        fields = Fields(where, {"model": value}, bare=True)
    else:
        content = as_object(value, findings, where)
        if content is None:
            return None, where
        fields = renamed(content, findings, where, {})
        join_endpoint(fields.values, findings, where)
    answers: Sequence[GivenAnswer] | None = None
    if fields.values.get("answers") is not None:
        at = fields.pointer("answers")
        answers = read_answers(fields.values["answers"], turns, findings, at)
    fields = fields.without("answers")
    named = "name" in fields.values
    if not named and "model" in fields.values:
        fields.values["name"] = fields.values["model"]
        fields = replace(fields, written={"name": "model"})
    pointer = fields.pointer("name")
    candidate = validated(Candidate, fields, findings)
    if candidate is None or answers is None:
        return candidate, pointer
    return candidate.model_copy(update={"answers": answers}), pointer


def _with_earlier(candidate: Candidate, earlier: Earlier | None) -> Candidate:
    before = earlier and earlier.candidates.get(candidate.name)
    if not before or candidate.answers is not None:
        return candidate
    return candidate.model_copy(update={"answers": before.answers})


def _check_asking(
    candidate: Candidate, turns: Mapping[str, int], findings: Findings, where: str, *, bare: bool
) -> None:
    """Note a candidate that has neither model nor answers; look for the model of one to ask."""
    answers = candidate.answers or []
    if candidate.model is None:
        if candidate.answers is None:
            findings.add(where, "has neither a model nor answers")
        else:
            check_complete(answers, turns, findings, child(where, "answers"))
    elif len(answers) < len(turns):
        findings.models.append((where if bare else child(where, "model"), candidate.model))
