"""Results, reports, comparisons and LLMZoo's files of a run.

Owns parameters, content types and which parts are shown. What is made of a run's material is made
elsewhere, on the workbench: once for all who ask for the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar, cast, get_args

from starlette.requests import Request
from starlette.responses import Response

from services.evaluator.jobs.material import RunMaterial
from services.evaluator.jobs.store import EvalStore
from services.evaluator.reports.data import MEDIA_TYPES, ReportFormat, ReportTable
from services.evaluator.routes.incoming import chosen, switch
from services.evaluator.routes.outgoing import answer
from services.evaluator.routes.workbench import Workbench
from shared.errors import InvalidRequest, NotFound
from shared.protocol.evals.item import OutputItem
from shared.protocol.evals.results import Comparison, Results, Scope

_TEXT = "text/plain; charset=utf-8"
_LINES = MEDIA_TYPES["jsonl"]
TABLES = get_args(ReportTable)
ANSWERS = "answers.jsonl"
ARTEFACTS = {
    "metric.json": "application/json",
    "ordering.txt": _TEXT,
    "review.jsonl": _LINES,
    ANSWERS: _LINES,
}
# A report shows texts of strangers: whatever one of them achieved, it has no origin of ours.
_SANDBOX = "sandbox allow-scripts allow-downloads allow-popups"
_ANY = ""

Made = TypeVar("Made")


@dataclass(frozen=True)
class ArtefactRequest:
    """Which of LLMZoo's files is wanted."""

    name: str
    dimension: str
    horizontal: bool
    scores: bool
    candidate: str | None


@dataclass(frozen=True)
class FigureMakers:
    """What makes figures and files of a run's material; each takes a processor for a while."""

    results: Callable[[RunMaterial], Results]
    compare: Callable[[RunMaterial, RunMaterial], Comparison]
    report: Callable[[ReportFormat, ReportTable, RunMaterial, Results, list[OutputItem]], bytes]
    artefact: Callable[[RunMaterial, ArtefactRequest], bytes]


class FigureHandlers:
    """Answers what is asked of a run's figures."""

    def __init__(self, store: EvalStore, bench: Workbench, makers: FigureMakers) -> None:
        """Make of what is in `store` what `makers` make, on `bench`."""
        self._store, self._bench, self._makers = store, bench, makers

    async def results(self, request: Request) -> Response:
        """`GET …/results`."""
        material, digest = await self._material(**request.path_params)
        results = await self._results(material, digest)
        return answer(_filtered(results, request, _judges(material)))

    async def report(self, request: Request) -> Response:
        """`GET …/report`."""
        form = cast("ReportFormat", chosen(request, "format", MEDIA_TYPES, "html"))
        table = cast("ReportTable", chosen(request, "table", TABLES, TABLES[0]))
        material, digest = await self._material(**request.path_params)
        results = await self._results(material, digest)
        run = material.run

        async def made() -> bytes:
            count = material.plan.reviews or material.plan.answers
            items = await self._store.items_at(material.evaluation, run, range(count))
            return await self._bench.run(
                lambda: self._makers.report(form, table, material, results, items)
            )

        content = await self._bench.get(
            ("report", run.id, _moment(material, digest), form, table), made
        )
        headers = {"content-disposition": _disposition(run.id, form)}
        if form == "html":
            headers["content-security-policy"] = _SANDBOX
        return _file(content, MEDIA_TYPES[form], headers)

    async def compare(self, request: Request) -> Response:
        """`GET …/compare?run=`; the other run may be of another eval, as `eval/run`."""
        told = request.query_params.get("run", "")
        eval_id, slash, run_id = told.partition("/")
        if not slash:
            eval_id, run_id = request.path_params["eval_id"], told
        if not run_id:
            msg = "'run' must name the run to compare with."
            raise InvalidRequest(msg, param="run")
        first, digest = await self._material(**request.path_params)
        other, other_digest = await self._material(eval_id, run_id)
        key = ("comparison", first.run.id, digest, other.run.id, other_digest)
        return answer(await self._made(key, lambda: self._makers.compare(first, other)))

    async def artefact(self, request: Request) -> Response:
        """`GET …/artifacts/{name}`."""
        name = request.path_params["name"]
        if name not in ARTEFACTS:
            msg = f"There is no such file; there are {', '.join(ARTEFACTS)}."
            raise NotFound(msg, param="name")
        path = {part: request.path_params[part] for part in ("eval_id", "run_id")}
        material, digest = await self._material(**path)
        wanted = ArtefactRequest(
            name=name,
            dimension=_ANY if name == ANSWERS else _dimension(material, request),
            horizontal=switch(request, "horiz"),
            scores=switch(request, "score"),
            candidate=request.query_params.get("candidate"),
        )
        key = ("artefact", material.run.id, digest, wanted)
        content = await self._made(key, lambda: self._makers.artefact(material, wanted))
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return _file(content, ARTEFACTS[name], headers)

    async def _material(self, eval_id: str, run_id: str) -> tuple[RunMaterial, str]:
        """Return all of a run and its digest, read once for all who ask meanwhile."""

        async def read() -> tuple[RunMaterial, str]:
            evaluation = await self._store.get_eval(eval_id)
            run = await self._store.get_run(eval_id, run_id)
            material = await self._store.material(evaluation, run)
            return material, await asyncio.to_thread(lambda: material.digest)

        return await self._bench.join(("material", eval_id, run_id), read)

    async def _results(self, material: RunMaterial, digest: str) -> Results:
        key = ("results", material.run.id, _moment(material, digest))
        return await self._made(key, lambda: self._makers.results(material))

    async def _made(self, key: Hashable, make: Callable[[], Made]) -> Made:
        return await self._bench.get(key, lambda: self._bench.run(make))


def _moment(material: RunMaterial, digest: str) -> tuple[str, ...]:
    """Return what figures depend on: all that was read, and how far the run is."""
    run = material.run
    return (digest, run.status.value, run.usage.model_dump_json(), str(run.finished_at))


def _judges(material: RunMaterial) -> set[str]:
    """Return who judges in a run."""
    graders = {grader.model or grader.type for grader in material.spec.graders}
    return graders.union(judge.model for judge in material.plan.judges)


def _filtered(results: Results, request: Request, judges: set[str]) -> Results:
    """Return the figures of some scopes only. Raises InvalidRequest."""
    scopes = results.scopes
    for name in ("dimension", "category", "language", "judge"):
        wanted = request.query_params.get(name)
        # What the only judge says has no scopes of its own: it is all.
        if wanted is not None and not (name == "judge" and judges == {wanted}):
            scopes = [scope for scope in scopes if getattr(scope, name) == wanted]
            _check_any(scopes, name)
    return results.model_copy(update={"scopes": scopes})


def _check_any(scopes: list[Scope], name: str) -> None:
    if not scopes:
        msg = f"There are no figures for this '{name}'."
        raise InvalidRequest(msg, param=name)


def _dimension(material: RunMaterial, request: Request) -> str:
    """Return the dimension of a file: one, since LLMZoo's files know no other."""
    names = material.spec.dimension_names
    wanted = request.query_params.get("dimension", names[0] if len(names) == 1 else _ANY)
    if wanted not in names:
        msg = f"'dimension' must be one of {', '.join(names) or 'none: the eval has none'}."
        raise InvalidRequest(msg, param="dimension")
    return wanted


def _disposition(run_id: str, form: str) -> str:
    shown = "inline" if form in {"html", "md", "json"} else "attachment"
    return f'{shown}; filename="{run_id}.{form}"'


def _file(content: bytes, media_type: str, headers: dict[str, str]) -> Response:
    headers = {**headers, "x-content-type-options": "nosniff"}
    return Response(content, headers={**headers, "content-type": media_type})
