"""`/v1/evals/{id}/runs` and each run: making, finding, cancelling, resuming, deleting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.evaluator.jobs.asking import Assess
from services.evaluator.jobs.store import EvalStore
from services.evaluator.jobs.stored_specs import spec_of
from services.evaluator.routes.incoming import chosen, order_of, paging, parsed
from services.evaluator.routes.openai_shapes import shown_run
from services.evaluator.routes.outgoing import Shown, answer, page
from services.evaluator.routes.shapes import Shapes
from services.evaluator.specs.candidates import Earlier
from services.evaluator.specs.dry_run import DryRun, Foresight, nothing_of
from services.evaluator.specs.execution import warnings_of
from services.evaluator.specs.reader import SpecReader
from services.evaluator.specs.requests import Resumption
from services.evaluator.specs.rerun import candidates_with_answers, earlier_of
from shared.errors import Conflict, InvalidRequest
from shared.protocol.evals.run import CallCounts, Evaluation, Run, RunSpec, RunStatus
from shared.protocol.evals.spec import EvalSpec

_STATUSES = {**{status.value: status for status in RunStatus}, "in_progress": RunStatus.RUNNING}
_ANY = ""


class RunHandlers:
    """Answers what is asked of runs."""

    def __init__(
        self,
        store: EvalStore,
        reader: SpecReader,
        shapes: Shapes,
        *,
        foresight: Foresight,
        assess: Assess,
        changed: Callable[[], None],
    ) -> None:
        """Keep in `store` what `reader` reads.

        Args:
            store: runs.
            reader: of bodies.
            shapes: of evals.
            foresight: what calls use.
            assess: what a review asks.
            changed: called when there may be something to do, or less of it.
        """
        self._store, self._reader, self._shapes = store, reader, shapes
        self._foresight, self._assess, self._changed = foresight, assess, changed

    async def create(self, request: Request, raw: bytes) -> Response:
        """`POST …/runs`."""
        evaluation = await self._store.get_eval(request.path_params["eval_id"])
        spec = await asyncio.to_thread(spec_of, evaluation)

        async def earlier(run_id: str) -> Earlier:
            run = await self._store.get_run(evaluation.id, run_id)
            progress = run.progress
            if not run.status.over and progress.answered < progress.answers_total:
                msg = f"The run {run_id!r} is open: some of its answers are still to come."
                raise InvalidRequest(msg)
            return earlier_of(await self._store.material(evaluation, run))

        # Nobody holds the body beside what was read of it.
        asked = await self._reader.run_request(await parsed(raw), spec, earlier)
        if asked.wishes.dry_run:
            anew = asked.wishes.force_new
            there = None if anew else await self._store.find_run(evaluation, asked.run)
            return answer(await self._counts(spec, asked.run, there))
        run, made = await self._store.create_run(
            evaluation, asked.run, force_new=asked.wishes.force_new
        )
        self._changed()
        run = run.model_copy(update={"warnings": [*run.warnings, *warnings_of(spec, asked.run)]})
        return await self._created(evaluation, run, made=made)

    async def list(self, request: Request) -> Response:
        """`GET …/runs`."""
        evaluation = await self._store.get_eval(request.path_params["eval_id"])
        # As each API has it where nothing is said.
        order = order_of(request, "asc" if self._shapes.of(evaluation) else "desc")
        status = _STATUSES.get(chosen(request, "status", _STATUSES, _ANY))
        found, more = await self._store.list_runs(evaluation, *paging(request), order, status)
        shown = [await self._shown(run, evaluation) for run in found]
        return page(shown, more)

    async def get(self, request: Request) -> Response:
        """`GET …/runs/{run}`."""
        return answer(await self._shown(await self._run(request)))

    async def cancel(self, request: Request, _: bytes) -> Response:
        """`POST …/runs/{run}/cancel`, and `POST …/runs/{run}`."""
        run = await self._store.cancel(await self._run(request))
        self._changed()
        return answer(await self._shown(run))

    async def resume(self, request: Request, raw: bytes) -> Response:
        """`POST …/resume`; with another judge it makes a run on the same answers."""
        body = await parsed(raw)
        run = await self._run(request)
        evaluation = await self._store.get_eval(run.eval_id)
        spec = await asyncio.to_thread(spec_of, evaluation)
        asked = await self._reader.resumption(body, spec)
        if asked.judges is not None:
            return await self._judge_anew(evaluation, spec, run, asked)
        resumed = await self._store.resume(run, asked.only, asked.limits)
        self._changed()
        return answer(await self._shown(resumed, evaluation))

    async def delete(self, request: Request) -> Response:
        """`DELETE …/runs/{run}`."""
        run = await self._run(request)
        await self._store.delete_run(run)
        return answer({"object": "eval.run.deleted", "deleted": True, "run_id": run.id})

    async def _judge_anew(
        self, evaluation: Evaluation, spec: EvalSpec, run: Run, asked: Resumption
    ) -> Response:
        """Make a run in which other judges read the answers of an earlier one, or count its calls."""
        if not run.status.over:
            msg = "The run is open; cancel it first, or wait for its end."
            raise Conflict(msg)
        material = await self._store.material(evaluation, run)
        if material.run_spec.reviews is not None:
            msg = "The run has given reviews and no answers that a judge could read."
            raise Conflict(msg)
        again = material.run_spec.model_copy(
            update={
                "candidates": candidates_with_answers(material),
                "judges": asked.judges,
                "limits": asked.limits or material.run_spec.limits,
            }
        )
        if asked.dry_run:
            there = await self._store.find_run(evaluation, again)
            return answer(await self._counts(spec, again, there))
        created, made = await self._store.create_run(evaluation, again)
        self._changed()
        return await self._created(evaluation, created, made=made)

    async def _created(self, evaluation: Evaluation, run: Run, *, made: bool) -> Response:
        location = f"/v1/evals/{evaluation.id}/runs/{run.id}"
        shown = await self._shown(run, evaluation)
        return answer(shown, 202 if made else 200, location=location)

    async def _counts(self, spec: EvalSpec, run: RunSpec, there: Run | None) -> CallCounts:
        """Return what this run would ask for: nothing, where it is `there` already and over."""
        if there is not None and there.status.over:
            return nothing_of(there)
        dry_run = DryRun(spec, run, self._foresight, self._assess)
        return await asyncio.to_thread(dry_run.counts)

    async def _run(self, request: Request) -> Run:
        return await self._store.get_run(**request.path_params)

    async def _shown(self, run: Run, evaluation: Evaluation | None = None) -> Shown:
        if not await self._shapes.is_openai(run.eval_id):
            return run
        evaluation = evaluation or await self._store.get_eval(run.eval_id)
        spec = await self._store.run_spec(run.id)
        shown: dict[str, Any] = shown_run(
            evaluation, run, spec, await self._store.review_states(run)
        )
        return shown
