"""Reading the body of a run in our form: what is executed, or all faults.

Pure: the answers of an earlier run are brought, and which models are served is asked, by whoever
calls. Owns what fields of a run must have in common with each other and with the eval.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

from services.evaluator.specs.candidates import (
    Earlier,
    check_rivals,
    read_candidates,
    read_earlier,
    turns_of,
)
from services.evaluator.specs.findings import Findings, child
from services.evaluator.specs.judges import read_judges
from services.evaluator.specs.metadata import check_metadata
from services.evaluator.specs.reviews import lineup_names, read_reviews
from services.evaluator.specs.shapes import Fields, as_object, fitting, renamed, without_nulls
from services.evaluator.specs.size import reviews_of
from shared.protocol.evals.base import MAX_CANDIDATES, MAX_ITEMS, Asked
from shared.protocol.evals.run import Candidate, Limits, RunSpec, Sampling
from shared.protocol.evals.spec import EvalSpec, Mode

_SAMPLING = ("temperature", "top_p", "max_tokens", "seed")
_APART = ("candidates", "reviews", "judges", "limits", "questions", "openai")
_NOBODY = {"name": "nobody"}


class Wishes(Asked):
    """How a run is created; nothing of it is part of the run."""

    dry_run: bool = False
    force_new: bool = False
    check_judge: bool = False
    answers_from_run: str | None = None


@dataclass(frozen=True)
class RunRequest:
    """A run to create, and how."""

    run: RunSpec
    wishes: Wishes


def read_run(
    body: dict[str, Any], spec: EvalSpec, findings: Findings, earlier: Earlier | None = None
) -> RunRequest:
    """Return what fits in `body`; it is whole if nothing was found."""
    fields = renamed(without_nulls(body), findings, "", {"judge": "judges"})
    values = fields.values
    for name in ("questions", "openai"):
        if name in values:
            findings.add(child("", name), "is unknown")
    if spec.openai is not None:
        findings.add("/data_source", "is missing: the eval was created in OpenAI's form")
    wished = {name: value for name, value in values.items() if name in Wishes.model_fields}
    wishes = fitting(Wishes, Fields("", wished), findings)
    rest = fields.without(*_APART, *_SAMPLING, *wished)
    run = fitting(RunSpec, _with_nobody(rest), findings)
    check_metadata(values.get("metadata"), findings)
    turns = turns_of(spec)
    reviews = None
    if "reviews" in values:
        reviews = read_reviews(values["reviews"], spec, turns, findings)
    judges = None
    if "judges" in values:
        judges = read_judges(values["judges"], findings, fields.pointer("judges"))
        if reviews is not None:
            findings.add(fields.pointer("judges"), "has nothing to do beside 'reviews'")
    if "candidates" in values:
        candidates = read_candidates(
            values["candidates"], turns, findings, earlier, asked=reviews is None
        )
    elif reviews is not None:
        candidates = [Candidate(name=name) for name in lineup_names(reviews) if name]
    else:
        candidates = read_earlier(earlier, turns, findings) if earlier else []
        if earlier is None:
            findings.add("/candidates", "is missing")
    parts = {
        "candidates": candidates,
        "reviews": reviews,
        "judges": judges,
        "sampling": _sampling(fields, run, findings),
        "limits": _limits(fields, findings),
    }
    run = run.model_copy(update=parts)
    _check_together(spec, run, findings)
    return RunRequest(run, wishes)


def check_limits(limits: Limits, findings: Findings, where: str = "/limits") -> None:
    """Note limits under which nothing can be done."""
    for name, value in limits:
        if value == 0:
            findings.add(child(where, name), "is 0: nothing could be done; leave it out for none")


def _sampling(fields: Fields, run: RunSpec, findings: Findings) -> Sampling:
    """Return the run's sampling with the settings that stand on top of the body."""
    on_top = {name: fields.values[name] for name in _SAMPLING if name in fields.values}
    inside = fields.values.get("sampling")
    told = cast("dict[str, Any]", inside) if isinstance(inside, dict) else {}
    for name in on_top.keys() & told.keys():
        findings.add(child("", name), "stands in 'sampling' too; give one of them")
    return run.sampling.model_copy(
        update=fitting(Sampling, Fields("", on_top), findings).model_dump(exclude_none=True)
    )


def _limits(fields: Fields, findings: Findings) -> Limits:
    content = as_object(fields.values.get("limits", {}), findings, "/limits") or {}
    limits = fitting(Limits, Fields("/limits", content), findings)
    check_limits(limits, findings)
    return limits


def _with_nobody(fields: Fields) -> Fields:
    return replace(fields, values={**fields.values, "candidates": [_NOBODY]})


def _check_together(spec: EvalSpec, run: RunSpec, findings: Findings) -> None:
    """Note what does not fit together, or is too much."""
    if run.reviews is not None:
        _check_lineups(run, findings)
        return
    check_rivals(spec, run.candidates, findings)
    judges = spec.judges if run.judges is None else run.judges
    if spec.dimensions and not judges and spec.openai is None:
        findings.add("/judge", "is missing: the eval names none, and its dimensions need one")
    check_size(spec, run, len(spec.questions), findings)
    if run.judges is None:
        findings.models += [("", judge.model) for judge in spec.judges if spec.dimensions]


def check_size(spec: EvalSpec, run: RunSpec, questions: int, findings: Findings) -> None:
    """Note a run of more answers or reviews than one may have."""
    answers, reviews = questions * len(run.candidates), reviews_of(spec, run)
    if max(answers, reviews) > MAX_ITEMS:
        text = f"make {answers} answers and {reviews} reviews; {MAX_ITEMS} are the most"
        findings.add("/candidates" if run.openai is None else "/data_source", text)


def _check_lineups(run: RunSpec, findings: Findings) -> None:
    """Note reviews of somebody who is no candidate, and too many candidates."""
    names = {candidate.name for candidate in run.candidates}
    if len(names) > MAX_CANDIDATES:
        text = f"are of {len(names)} candidates; {MAX_CANDIDATES} are the most"
        findings.add("/reviews", text)
    for place, review in enumerate(run.reviews or []):
        if not names.issuperset(review.lineup):
            findings.add(child("/reviews", place, "lineup"), "names somebody who is no candidate")


def warnings_of(spec: EvalSpec, run: RunSpec) -> list[str]:
    """Return what is no fault, but should be known before money is spent."""
    judges = spec.judges if run.judges is None else run.judges
    candidates = {candidate.model for candidate in run.candidates if candidate.model}
    found = [
        f"The judge {judge.model!r} is a candidate: models tend to favour their own answers."
        for judge in judges
        if judge.model in candidates and spec.dimensions and run.reviews is None
    ]
    if spec.mode is not Mode.SCORING and spec.dimensions and spec.swap == "none":
        found.append(
            "Judges see the answers in one order only (swap: none), so a preference for a place "
            "cannot be told from one for a candidate."
        )
    found += [
        f"Verdicts that the judge {judge.model!r} gives in sentences alone are left undecoded "
        "(prose: undecoded); it is asked once more for the form."
        for judge in judges
        if judge.prose == "undecoded" and spec.mode is not Mode.SCORING and spec.dimensions
    ]
    cold = [judge.model for judge in judges if judge.sampling.temperature == 0]
    if spec.repeats > 1 and spec.dimensions and cold and run.reviews is None:
        found.append(
            f"The judge {cold[0]!r} repeats its reviews at temperature 0: most servers then give "
            "the same text each time, which tells nothing of how steady it is."
        )
    return found
