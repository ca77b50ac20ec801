"""Reading the body of a run in OpenAI's form (it has `data_source`) into our run.

Pure, as `execution`. Rows become questions with the whole prompt in each; answers that come with
the rows become given ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from services.evaluator.specs.execution import RunRequest, Wishes, check_size
from services.evaluator.specs.findings import Findings, child
from services.evaluator.specs.graders import check_sampling
from services.evaluator.specs.metadata import check_metadata
from services.evaluator.specs.rows import Prompt, Rows, read_prompt, read_rows
from services.evaluator.specs.shapes import Fields, Object, as_object, fitting
from services.evaluator.specs.templates import speaks_of_sample
from shared.protocol.evals.run import Candidate, RunSpec, Sampling
from shared.protocol.evals.spec import EvalSpec, Grader

GIVEN = "given"
"""Name of the candidate whose answers came with the rows."""
_KNOWN = frozenset({"name", "metadata", "data_source"})
_WISHES = frozenset({"dry_run", "force_new"})
"""Ours, which OpenAI's clients send as `extra_body`."""
_NOT_SERVED = ("responses", "file_id", "stored_completions")
_FIELDS = {
    "jsonl": frozenset({"type", "source"}),
    "completions": frozenset({"type", "source", "model", "input_messages", "sampling_params"}),
}
_SAMPLING = {"temperature": "temperature", "top_p": "top_p", "seed": "seed"} | {
    "max_completion_tokens": "max_tokens"
}


def read_openai_run(body: dict[str, Any], spec: EvalSpec, findings: Findings) -> RunRequest:
    """Return what fits in `body`; it is whole if nothing was found."""
    wished = {name: body[name] for name in _WISHES if body.get(name) is not None}
    wishes = fitting(Wishes, Fields("", wished), findings)
    for name in body.keys() - _KNOWN - _WISHES:
        findings.add(child("", name), "is unknown")
    if spec.openai is None:
        findings.add("/data_source", "is for evals that were created in OpenAI's form")
    check_metadata(body.get("metadata"), findings)
    source = as_object(body["data_source"], findings, "/data_source") or {}
    kind = source.get("type")
    if not isinstance(kind, str) or kind not in _FIELDS:
        known = "served are jsonl and completions"
        text = "is not served" if kind in _NOT_SERVED else "is unknown"
        findings.add("/data_source/type", f"{text}; {known}")
        source = {}
    for name in source.keys() - _FIELDS.get(str(kind), source.keys()):
        findings.add(child("/data_source", name), "is unknown")
    asked = kind == "completions"
    prompt = _prompt(source, spec, findings) if asked else None
    rows = _rows(source, spec, findings, prompt, with_samples=not asked)
    candidate = _candidate(source, findings) if asked else Candidate(name=GIVEN)
    if not asked:
        candidate = candidate.model_copy(update={"answers": rows.answers})
    own = {name: body[name] for name in ("name", "metadata") if body.get(name) is not None}
    fields = Fields("", {**own, "candidates": [{"name": GIVEN}]})
    parts: dict[str, Any] = {
        "candidates": [candidate],
        "questions": rows.questions,
        "openai": source,
    }
    run = fitting(RunSpec, fields, findings).model_copy(update=parts)
    check_size(spec, run, len(rows.questions), findings)
    findings.models += [("", grader.model) for grader in spec.graders if grader.model]
    return RunRequest(run, wishes)


def needs_sample(spec: EvalSpec) -> bool:
    """Return whether a grader of the eval reads the candidate's answer."""
    return any(speaks_of_sample(text) for grader in spec.graders for text in _texts(grader))


def _texts(grader: Grader) -> list[str]:
    read = grader.input or []
    texts = [read] if isinstance(read, str) else [message.content for message in read]
    return [*texts, grader.reference or ""]


def _prompt(source: Object, spec: EvalSpec, findings: Findings) -> Prompt | None:
    if source.get("input_messages") is None:
        findings.add("/data_source/input_messages", "is missing")
        return None
    return read_prompt(source["input_messages"], spec, findings)


def _rows(
    source: Object,
    spec: EvalSpec,
    findings: Findings,
    prompt: Prompt | None,
    *,
    with_samples: bool,
) -> Rows:
    where = "/data_source/source"
    if not source:
        return Rows()
    if "source" not in source:
        findings.add(where, "is missing")
        return Rows()
    origin = as_object(source["source"], findings, where)
    if origin is None:
        return Rows()
    kind = origin.get("type")
    if kind != "file_content":
        text = "is not served" if kind in _NOT_SERVED else "is unknown"
        findings.add(child(where, "type"), f"{text}; served is file_content")
        return Rows()
    needed = with_samples and needs_sample(spec)
    return read_rows(origin.get("content"), spec, findings, prompt, needed=needed)


def _candidate(source: Object, findings: Findings) -> Candidate:
    where = "/data_source"
    model = source.get("model")
    if not isinstance(model, str) or not model:
        findings.add(child(where, "model"), "is missing: the name of the model to ask")
        model = GIVEN
    else:
        findings.models.append((child(where, "model"), model))
    given = source.get("sampling_params")
    values: dict[str, Any] = {}
    if given is not None:
        at = child(where, "sampling_params")
        told = dict(as_object(given, findings, at) or {})
        form = told.get("response_format")
        if isinstance(form, dict) and cast("Object", form).get("type") == "text":
            del told["response_format"]
        check_sampling(told, findings, at, _KNOWN_SAMPLING)
        values = {own: told[name] for name, own in _SAMPLING.items() if told.get(name) is not None}
    sampling = fitting(Sampling, Fields(child(where, "sampling_params"), values), Findings())
    return Candidate(name=model[:256], model=model[:256], sampling=sampling if values else None)


def _fits(field: str) -> Callable[[Any], bool]:
    """Return whether a value is one that our own sampling takes."""

    def fits(value: Any) -> bool:
        found = Findings()
        fitting(Sampling, Fields("", {field: value}), found)
        return not found

    return fits


_KNOWN_SAMPLING = {name: _fits(own) for name, own in _SAMPLING.items()}
