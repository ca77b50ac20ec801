"""Reading the body of an eval in OpenAI's form (it has `testing_criteria`) into our spec.

Pure, as `evaluation`. The body is kept in the spec, to be told back as it came.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

from services.evaluator.specs.findings import Findings, child
from services.evaluator.specs.graders import GraderReader
from services.evaluator.specs.item_schema import check_schema
from services.evaluator.specs.metadata import check_metadata
from services.evaluator.specs.shapes import Fields, as_object, fitting
from shared.protocol.evals.spec import EvalSpec

_KNOWN = frozenset({"name", "metadata", "data_source_config", "testing_criteria"})
_CONFIG = frozenset({"type", "item_schema", "include_sample_schema"})
_NOT_SERVED = ("logs", "stored_completions")


def is_openai(body: dict[str, Any]) -> bool:
    """Return whether a body is of OpenAI's form."""
    return "testing_criteria" in body


def read_openai_eval(
    body: dict[str, Any], findings: Findings, metrics: Collection[str]
) -> EvalSpec:
    """Return the spec of what fits in `body`; it is whole if nothing was found."""
    for name in body.keys() - _KNOWN:
        findings.add(child("", name), "is unknown")
    schema = _schema(body.get("data_source_config"), findings)
    graders = GraderReader(schema, metrics, findings).read(body["testing_criteria"])
    check_metadata(body.get("metadata"), findings)
    own = {name: body[name] for name in ("name", "metadata") if body.get(name) is not None}
    spec = fitting(EvalSpec, Fields("", {**own, "questions": []}), findings)
    told = {name: body.get(name) for name in ("data_source_config", "testing_criteria")}
    return spec.model_copy(update={"graders": graders, "openai": told})


def item_schema(spec: EvalSpec) -> dict[str, Any]:
    """Return the JSON schema of the rows of an eval that was made in OpenAI's form."""
    config = cast("dict[str, Any]", (spec.openai or {}).get("data_source_config") or {})
    return cast("dict[str, Any]", config.get("item_schema") or {})


def _schema(value: object, findings: Findings) -> dict[str, Any]:
    where = "/data_source_config"
    if value is None:
        findings.add(where, "is missing")
        return {}
    config = as_object(value, findings, where)
    if config is None:
        return {}
    kind = config.get("type")
    if kind != "custom":
        text = "is not served" if kind in _NOT_SERVED else "is unknown"
        findings.add(child(where, "type"), f"{text}; served is custom")
        return {}
    for name in config.keys() - _CONFIG:
        findings.add(child(where, name), "is unknown")
    if not isinstance(config.get("include_sample_schema", False), bool):
        findings.add(child(where, "include_sample_schema"), "should be true or false")
    if "item_schema" not in config:
        findings.add(child(where, "item_schema"), "is missing")
        return {}
    at = child(where, "item_schema")
    schema = as_object(config["item_schema"], findings, at)
    if schema is None:
        return {}
    check_schema(schema, findings, at)
    return schema
