"""Reading the body of an eval in our form: a spec with every default in it, or all faults.

Pure: which models are served is asked by whoever calls. Owns what fields of an eval must have in
common.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.evaluator.specs.dimensions import (
    Dimensions,
    check_applying,
    read_dimensions,
    read_filters,
)
from services.evaluator.specs.findings import Findings, child
from services.evaluator.specs.judges import read_judges
from services.evaluator.specs.metadata import check_metadata
from services.evaluator.specs.questions import Questions, QuestionSet, read_questions
from services.evaluator.specs.shapes import fitting, renamed, without_nulls
from shared.protocol.evals.spec import EvalSpec, Mode, Question, Swap

_READ_APART = ("questions", "dimensions", "judges", "applies_to")
_NOT_ASKED = ("graders", "openai")
_WITH_REFERENCES = frozenset({"bleu", "chrf", "ter", "rouge", "exact_match", "similarity"})


def read_eval(body: dict[str, Any], findings: Findings, load_set: QuestionSet) -> EvalSpec:
    """Return the spec of what fits in `body`; it is whole if nothing was found."""
    fields = renamed(without_nulls(body), findings, "", {"judge": "judges"})
    values = fields.values
    for name in _NOT_ASKED:
        if name in values:
            del values[name]
            findings.add(child("", name), "is unknown")
    questions = Questions()
    if "questions" in values:
        questions = read_questions(values["questions"], findings, load_set)
    else:
        findings.add("/questions", "is missing")
    dimensions = Dimensions()
    if "dimensions" in values:
        dimensions = read_dimensions(values["dimensions"], findings)
    judges = (
        read_judges(values["judges"], findings, fields.pointer("judges"))
        if "judges" in values
        else []
    )
    filters = read_filters(values.get("applies_to"), findings, dimensions.places)
    check_applying(dimensions, filters, questions.labels, findings)
    check_metadata(values.get("metadata"), findings)
    rest = fields.without(*_READ_APART)
    rest.values["questions"] = []
    spec = fitting(EvalSpec, rest, findings)
    _check_together(spec, dimensions, questions.valid, findings)
    return spec.model_copy(
        update={
            "questions": questions.valid,
            "dimensions": dimensions.valid,
            "judges": judges,
            "applies_to": filters,
        }
    )


def _check_together(
    spec: EvalSpec, dimensions: Dimensions, questions: Sequence[Question], findings: Findings
) -> None:
    """Note what does not fit together."""
    for name in spec.weights:
        if name not in dimensions.places:
            findings.add(child("/weights", name), "is no dimension of this eval")
    _check_mode(spec, dimensions, findings)
    if len(set(spec.metrics)) < len(spec.metrics):
        findings.add("/metrics", "names one twice")
    comparing = [place for place, name in enumerate(spec.metrics) if name in _WITH_REFERENCES]
    if comparing and questions and not any(question.references for question in questions):
        for place in comparing:
            findings.add(child("/metrics", place), "needs references; no question has any")


def _check_mode(spec: EvalSpec, dimensions: Dimensions, findings: Findings) -> None:
    """Note what does not go with the mode."""
    if spec.baseline is not None and spec.mode is not Mode.PAIRWISE:
        findings.add("/baseline", "is for the mode pairwise only")
    if spec.swap is not Swap.NONE and not dimensions.places:
        findings.add("/swap", "without a dimension nothing is judged in any order")
    if spec.alone and spec.mode is not Mode.SCORING:
        findings.add("/alone", "is for the mode scoring only")
    if spec.alone and spec.swap is not Swap.NONE:
        findings.add("/swap", "has nothing to turn round where each answer is scored alone")
