"""`…/output_items`: what became of each review, and a person's verdict in a judge's place."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from services.evaluator.jobs.store import EvalStore
from services.evaluator.routes.incoming import chosen, order_of, paging, parsed
from services.evaluator.routes.openai_items import STATUSES, OpenAIItems
from services.evaluator.routes.outgoing import answer, page
from services.evaluator.routes.shapes import openai_of
from services.evaluator.specs.requests import read_override
from shared.protocol.evals.run import Evaluation, Run

_ANY = ""


class ItemHandlers:
    """Answers what is asked of a run's items."""

    def __init__(self, store: EvalStore) -> None:
        """Read from `store`."""
        self._store = store

    async def list(self, request: Request) -> Response:
        """`GET …/output_items`."""
        evaluation, run = await self._found(request)
        (after, limit), order = paging(request), order_of(request, "asc")
        if openai_of(evaluation) is not None:
            status = chosen(request, "status", STATUSES, _ANY) or None
            rows = await self._rows(evaluation, run)
            return page(*await rows.page(after, limit, order, status))
        status = request.query_params.get("status")
        found, more = await self._store.output_items(evaluation, run, after, limit, status, order)
        return page(found, more)

    async def get(self, request: Request) -> Response:
        """`GET …/output_items/{item}`."""
        evaluation, run = await self._found(request)
        item_id = request.path_params["item_id"]
        if openai_of(evaluation) is not None:
            rows = await self._rows(evaluation, run)
            return answer(await rows.item(item_id))
        return answer(await self._store.get_item(evaluation, run, item_id))

    async def override(self, request: Request, raw: bytes) -> Response:
        """`PATCH …/output_items/{item}`."""
        verdict = read_override(await parsed(raw))
        evaluation, run = await self._found(request)
        item_id = request.path_params["item_id"]
        return answer(await self._store.override(evaluation, run, item_id, verdict))

    async def _found(self, request: Request) -> tuple[Evaluation, Run]:
        eval_id, run_id = request.path_params["eval_id"], request.path_params["run_id"]
        evaluation = await self._store.get_eval(eval_id)
        return evaluation, await self._store.get_run(eval_id, run_id)

    async def _rows(self, evaluation: Evaluation, run: Run) -> OpenAIItems:
        return OpenAIItems(self._store, evaluation, run, await self._store.run_spec(run.id))
