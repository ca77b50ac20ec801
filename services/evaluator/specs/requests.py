"""The small bodies: what is renamed, resumed, overridden. Shapes, and all faults at once."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field

from services.evaluator.specs.execution import check_limits
from services.evaluator.specs.findings import Findings
from services.evaluator.specs.judges import read_judges
from services.evaluator.specs.metadata import check_metadata
from services.evaluator.specs.reviews import is_ranking
from services.evaluator.specs.shapes import Fields, renamed, validated
from shared.protocol.evals.base import Asked
from shared.protocol.evals.item import OutputItem, OverrideRequest
from shared.protocol.evals.run import Limits
from shared.protocol.evals.spec import EvalSpec, Judge, Rubric

Shape = TypeVar("Shape", bound=BaseModel)


class UpdateRequest(Asked):
    """Body of `POST /v1/evals/{id}`."""

    name: Annotated[str, Field(max_length=200)] | None = None
    metadata: dict[str, str] | None = None


class ResumeRequest(Asked):
    """Body of `POST …/resume`."""

    only: Literal["errored", "undecoded", "all_missing"] = "all_missing"
    limits: Limits | None = None


class Resumption(ResumeRequest):
    """The same with the judges that a new run has in the place of the eval's."""

    judges: list[Judge] | None = None


def read_update(body: dict[str, Any]) -> UpdateRequest:
    """Return what is changed of an eval. Raises InvalidSpec."""
    findings = Findings()
    check_metadata(body.get("metadata"), findings)
    return _whole(validated(UpdateRequest, Fields("", body), findings), findings)


def read_resumption(body: dict[str, Any], findings: Findings) -> Resumption:
    """Return how a run goes on; the models of new judges are among the findings."""
    fields = renamed(body, findings, "", {"judge": "judges"})
    judges = None
    if fields.values.get("judges") is not None:
        judges = read_judges(fields.values["judges"], findings, fields.pointer("judges"))
    request = validated(ResumeRequest, fields.without("judges"), findings) or ResumeRequest()
    if request.limits is not None:
        check_limits(request.limits, findings)
    return Resumption(only=request.only, limits=request.limits, judges=judges)


def read_override(body: dict[str, Any], item: OutputItem, spec: EvalSpec) -> OverrideRequest:
    """Return a person's verdict on an item. Raises InvalidSpec."""
    findings = Findings()
    request = validated(OverrideRequest, Fields("", body), findings)
    if request is not None:
        _check_verdict(request, item, spec, findings)
    return _whole(request, findings)


def _check_verdict(
    request: OverrideRequest, item: OutputItem, spec: EvalSpec, findings: Findings
) -> None:
    """Note a verdict that is none on this item."""
    given = [name for name in ("ranks", "scores", "label") if getattr(request, name) is not None]
    if len(given) != 1:
        findings.add("", "should have exactly one of 'ranks', 'scores' and 'label'")
        return
    rivals = len(item.lineup)
    grader = next((each for each in spec.graders if each.name == item.dimension), None)
    if item.dimension is None:
        findings.add("", "is for reviews; this run has answers only")
    elif request.ranks is not None and not is_ranking(request.ranks, rivals):
        findings.add("/ranks", "is no competition ranking of the line-up, such as 1, 2, 2, 4")
    elif request.scores is not None:
        low, high = bounds_of(spec, item.dimension)
        if len(request.scores) != rivals or not all(low <= each <= high for each in request.scores):
            text = f"should be {rivals} from {low:g} to {high:g}, in the order of the line-up"
            findings.add("/scores", text)
    elif request.label is not None and request.label not in ((grader and grader.labels) or []):
        findings.add("/label", "is none of the grader's labels")


def bounds_of(spec: EvalSpec, dimension: str) -> tuple[float, float]:
    """Return between what a dimension's scores lie."""
    for grader in spec.graders:
        if grader.name == dimension:
            return grader.range or (0.0, 1.0)
    for each in spec.dimensions:
        if isinstance(each, Rubric) and each.name == dimension:
            return each.low, each.high
    return 1.0, 10.0


def _whole(request: Shape | None, findings: Findings) -> Shape:
    findings.raise_if_any()
    assert request is not None
    return request
