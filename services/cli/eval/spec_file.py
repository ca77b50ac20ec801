"""A spec file: an eval and its run in one, with the files that they name.

Owns the file's form: the body of `POST /v1/evals`, the run's body under `run`, and paths in the
place of questions, answers and reviews, relative to the file. What is right in a body is the
evaluator's affair, which names all faults at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from services.cli.eval.yaml_file import read_yaml
from shared.errors import ConfigurationError, MalformedFile

SHIPPED = Path(__file__).parent / "specs"
_FILE_ENDINGS = (".jsonl", ".json")


@dataclass(frozen=True, slots=True)
class Changes:
    """What the command line says otherwise than the file; nothing where it is empty."""

    candidates: Sequence[str] = ()
    """Names of models, or `name=model`."""
    judges: Sequence[str] = ()
    max_cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    """The bodies of two requests."""

    evaluation: dict[str, Any]
    run: dict[str, Any]


def read_spec(named: str, changes: Changes) -> Spec:
    """Return a spec by its file, or by the name of one that comes with LLM Zoo.

    Raises:
        MalformedFile: a file cannot be read; the message names it and the line.
        ConfigurationError: there is no such spec, or nobody to measure or to judge.
    """
    path = _found(named)
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise MalformedFile(path, None, "is no mapping of a spec's fields")
    body = cast("dict[str, Any]", content)
    asked: object = body.pop("run", None) or {}
    if not isinstance(asked, dict):
        raise MalformedFile(path, None, "has a run that is no mapping")
    run = cast("dict[str, Any]", asked)
    if "testing_criteria" in body:
        msg = f"{path} is a body of OpenAI's API; send it with OpenAI's client"
        raise ConfigurationError(msg)
    _bring_files(path, body, run)
    _change(body, run, changes)
    _check(body, run)
    return Spec(body, run)


def shipped_names() -> list[str]:
    """Return the names of the specs that come with LLM Zoo."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def _found(named: str) -> Path:
    if named in shipped_names():
        return SHIPPED / f"{named}.yaml"
    path = Path(named)
    if not path.exists() and path.name == named and not path.suffix:
        known = ", ".join(shipped_names())
        msg = f"There is no spec {named!r}: name a file, or one of {known}"
        raise ConfigurationError(msg)
    return path


def _bring_files(path: Path, body: dict[str, Any], run: dict[str, Any]) -> None:
    """Put what files hold in the place of their paths."""
    from services.evaluator.importing import files  # noqa: PLC0415 - takes time to import

    answers = cache(files.AnswersFile)  # several candidates may share one

    def brought(holder: dict[str, Any], field: str, read: Callable[[Path], list[Any]]) -> None:
        value: object = holder.get(field)
        named = cast("list[object]", value) if isinstance(value, list) else [value]
        if not named or not all(isinstance(part, str) for part in named):
            return
        paths = [path.parent / part for part in cast("list[str]", named)]
        if all(each.suffix in _FILE_ENDINGS or each.is_file() for each in paths):
            rows = [row for each in paths for row in read(each)]
            holder[field] = [row.model_dump(mode="json", exclude_defaults=True) for row in rows]

    brought(body, "questions", files.read_questions)
    brought(run, "reviews", files.read_reviews)
    candidates: object = run.get("candidates")
    for each in cast("list[object]", candidates) if isinstance(candidates, list) else []:
        if isinstance(each, dict):
            candidate = cast("dict[str, Any]", each)
            name = str(candidate.get("name") or candidate.get("model") or "")
            brought(candidate, "answers", lambda file, name=name: answers(file).of(name))


def _change(body: dict[str, Any], run: dict[str, Any], changes: Changes) -> None:
    if changes.candidates:
        run["candidates"] = [_candidate(named) for named in changes.candidates]
    if changes.judges:
        # One judge of the file tells how those in its place write.
        before = body.pop("judges", None)
        before = body.pop("judge", None) or before
        like = cast("dict[str, Any]", before) if isinstance(before, dict) else {}
        body["judge"] = [{**like, "model": judge} for judge in changes.judges]
    if changes.max_cost_usd is not None:
        limits: object = run.get("limits") or {}
        if isinstance(limits, dict):
            run["limits"] = {**limits, "max_cost_usd": changes.max_cost_usd}


def _candidate(named: str) -> dict[str, str]:
    name, equals, model = named.partition("=")
    if not equals:
        return {"model": named}
    if not (name and model):
        raise ConfigurationError(f"{named!r} is neither MODEL nor NAME=MODEL", param="--model")
    return {"name": name, "model": model}


def _check(body: dict[str, Any], run: dict[str, Any]) -> None:
    """Raise where it is plain what to add on the command line."""
    given = run.get("reviews") is not None
    if not (given or run.get("candidates") or run.get("answers_from_run")):
        raise ConfigurationError("Nobody is measured: name models with --model", param="--model")
    judge: object = body.get("judge") or body.get("judges") or run.get("judges")
    if isinstance(judge, dict) and "model" not in judge:
        judge = None
    if body.get("dimensions") and not given and not judge:
        raise ConfigurationError("Nobody judges: name a model with --judge", param="--judge")
