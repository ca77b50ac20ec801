"""The small bodies: what is renamed, resumed, overridden. Shapes, and all faults at once."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field

from services.evaluator.specs.execution import check_limits
from services.evaluator.specs.findings import Findings
from services.evaluator.specs.judges import read_judges
from services.evaluator.specs.metadata import check_metadata
from services.evaluator.specs.shapes import Fields, renamed, validated
from shared.protocol.evals.base import Asked
from shared.protocol.evals.item import OverrideRequest
from shared.protocol.evals.run import Limits
from shared.protocol.evals.spec import Judge

Shape = TypeVar("Shape", bound=BaseModel)


class UpdateRequest(Asked):
    """Body of `POST /v1/evals/{id}`."""

    name: Annotated[str, Field(max_length=200)] | None = None
    metadata: dict[str, str] | None = None


class ResumeRequest(Asked):
    """Body of `POST …/resume`."""

    only: Literal["errored", "undecoded", "all_missing"] = "all_missing"
    limits: Limits | None = None
    dry_run: bool = False
    """Count what another judge would be asked, and make no run."""


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
    if request.dry_run and fields.values.get("judges") is None:
        findings.add("/dry_run", "counts what another judge would be asked; name it as `judge`")
    return Resumption(
        **request.model_dump(exclude={"limits"}), limits=request.limits, judges=judges
    )


def read_override(body: dict[str, Any]) -> OverrideRequest:
    """Return a person's verdict; whether it fits its item, the store says. Raises InvalidSpec."""
    findings = Findings()
    return _whole(validated(OverrideRequest, Fields("", body), findings), findings)


def _whole(request: Shape | None, findings: Findings) -> Shape:
    findings.raise_if_any()
    assert request is not None
    return request
