"""The judges of an eval: one or several, a bare name or an object.

Owns how a model of an external endpoint is named.
"""

from __future__ import annotations

from typing import Any, cast

from services.evaluator.specs.findings import Findings, child
from services.evaluator.specs.shapes import Fields, as_list, as_object, renamed, validated
from shared.protocol.evals.spec import Judge

MOST = 8


def read_judges(value: object, findings: Findings, where: str) -> list[Judge]:
    """Return the judges that fit; a fault for each of the others."""
    if not isinstance(value, list):
        judge = _judge(value, findings, where)
        return [] if judge is None else [judge]
    rows = as_list(cast("object", value), findings, where, MOST, least=1)
    found: list[Judge] = []
    for place, row in enumerate(rows):
        judge = _judge(row, findings, child(where, place))
        if judge is not None and judge in found:
            findings.add(child(where, place), "stands there already")
        elif judge is not None:
            found.append(judge)
    return found


def join_endpoint(values: dict[str, Any], findings: Findings, where: str) -> None:
    """Turn `base_url_ref`, the name of an endpoint, and `model` into the model `name/model`."""
    reference = values.pop("base_url_ref", None)
    if reference is None:
        return
    if not isinstance(reference, str) or not reference or "/" in reference:
        findings.add(child(where, "base_url_ref"), "should be the name of an endpoint")
    elif isinstance(values.get("model"), str):
        values["model"] = f"{reference}/{values['model']}"


def _judge(value: object, findings: Findings, where: str) -> Judge | None:
    if isinstance(value, str):
        fields = Fields(where, {"model": value}, bare=True)
    else:
        content = as_object(value, findings, where)
        if content is None:
            return None
        fields = renamed(content, findings, where, {})
        join_endpoint(fields.values, findings, where)
    model = fields.values.get("model")
    if isinstance(model, str) and model:
        findings.models.append((fields.pointer("model"), model))
    return validated(Judge, fields, findings)
