"""Verdicts that come with a run: in our form or as rows of LLMZoo's review files.

Owns whether they fit the eval's questions, dimensions and mode, and each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from services.evaluator.sealed_rows import SealedRows, Sealing
from services.evaluator.specs.findings import Findings, child, listed
from services.evaluator.specs.questions import id_text
from services.evaluator.specs.shapes import Fields, as_list, as_object, renamed, validated
from shared.protocol.evals.base import MAX_CANDIDATES, MAX_ITEMS
from shared.protocol.evals.run import GivenReview
from shared.protocol.evals.spec import EvalSpec, Mode

_NAMES = {"reviewer_id": "judge", "order": "ranks", "score": "scores"}
_OF_FILES = ("review_id", "lang", "answer_ids", "category", "metadata")
_UNREAD = -1
"""LLMZoo's files: the judge's text could not be read."""


def read_reviews(
    value: object, spec: EvalSpec, turns: Mapping[str, int], findings: Findings
) -> SealedRows[GivenReview]:
    """Return the reviews that fit; a fault for each of the others."""
    where = "/reviews"
    found = Sealing(GivenReview)
    seen: set[tuple[object, ...]] = set()
    unknown: list[str] = []
    for place, row in enumerate(as_list(value, findings, where, MAX_ITEMS, least=1)):
        here = child(where, place)
        content = as_object(row, findings, here)
        if content is None:
            continue
        fields = _fields(content, spec, findings, here)
        review = validated(GivenReview, fields, findings)
        if review is None:
            continue
        if review.question_id not in turns:
            unknown.append(review.question_id)
        if _check(review, spec, fields, findings):
            look = (review.question_id, review.dimension, review.judge, review.repeat)
            key = (*look, *review.lineup)
            if key in seen:
                findings.add(here, "stands there already; count repeats by 'repeat'")
            seen.add(key)
            found.add(review)
    if unknown:
        findings.add(where, f"are of questions that the eval does not have: {listed(unknown)}")
    return found.rows()


def lineup_names(reviews: Sequence[GivenReview]) -> list[str]:
    """Return all candidates that were reviewed, in the order in which they first appear."""
    return list(dict.fromkeys(name for review in reviews for name in review.lineup))


def _fields(value: dict[str, Any], spec: EvalSpec, findings: Findings, where: str) -> Fields:
    """Return a review's fields under our names, whichever file it is from."""
    beside = value.get("metadata")
    fields = renamed(value, findings, where, _NAMES).without(*_OF_FILES)
    values = fields.values
    values["question_id"] = id_text(values.get("question_id"))
    if isinstance(beside, dict) and "lineup" not in values:
        values["lineup"] = cast("dict[str, object]", beside).get("model_ids")
    names = spec.dimension_names
    if "dimension" not in values and len(names) == 1:
        values["dimension"] = names[0]
    for name in ("ranks", "scores"):
        read = values.get(name)
        if isinstance(read, list) and _UNREAD in read and "text" in values:
            values[name] = None
    return fields


def _check(review: GivenReview, spec: EvalSpec, fields: Fields, findings: Findings) -> bool:
    """Note what is wrong with a review in itself; return whether nothing is."""
    faults: list[tuple[str, str]] = []
    rivals = len(review.lineup)
    least, most = (2, 2) if spec.mode is Mode.PAIRWISE else (2, MAX_CANDIDATES)
    least = 1 if spec.mode is Mode.SCORING else least
    if review.dimension not in spec.dimension_names:
        faults.append(("dimension", "is no dimension of this eval"))
    if not least <= rivals <= most:
        faults.append(("lineup", f"has {rivals} candidates; {least} to {most} are meant"))
    elif len(set(review.lineup)) < rivals or "" in review.lineup:
        faults.append(("lineup", "names one twice, or nobody"))
    faults += _check_verdict(review)
    for name, text in faults:
        findings.add(fields.pointer(name), text)
    return not faults


def _check_verdict(review: GivenReview) -> list[tuple[str, str]]:
    faults: list[tuple[str, str]] = []
    rivals = len(review.lineup)
    if not review.judge:
        faults.append(("judge", "is empty"))
    if review.repeat < 0:
        faults.append(("repeat", "is less than 0"))
    if review.ranks is None and review.scores is None and not (review.text or "").strip():
        faults.append(("ranks", "is missing: ranks, scores or a text to read"))
    if review.ranks is not None and not is_ranking(review.ranks, rivals):
        faults.append(("ranks", "is no competition ranking of the line-up, such as 1, 2, 2, 4"))
    if review.scores is not None and len(review.scores) != rivals:
        faults.append(("scores", "has another length than the line-up"))
    elif review.scores is not None and not all(map(math.isfinite, review.scores)):
        faults.append(("scores", "should be finite"))
    return faults


def is_ranking(ranks: Sequence[int], rivals: int) -> bool:
    """Return whether `ranks` ranks so many rivals, equal ones sharing the better place."""
    ordered = sorted(ranks)
    return len(ranks) == rivals and all(rank == ordered.index(rank) + 1 for rank in ordered)
