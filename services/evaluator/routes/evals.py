"""`/v1/evals` and `/v1/evals/{id}`: making, finding, renaming, deleting what is measured.

An eval may hold megabytes of questions; it is written as JSON in a thread, beside the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from services.evaluator.jobs.store import EvalStore
from services.evaluator.routes.incoming import order_of, paging, parsed
from services.evaluator.routes.openai_shapes import shown_eval
from services.evaluator.routes.outgoing import Shown, answer, page
from services.evaluator.routes.shapes import Shapes
from services.evaluator.specs.reader import SpecReader
from services.evaluator.specs.requests import read_update
from shared.protocol.evals.run import Evaluation


class EvalHandlers:
    """Answers what is asked of evals."""

    def __init__(self, store: EvalStore, reader: SpecReader, shapes: Shapes) -> None:
        """Keep in `store` what `reader` reads."""
        self._store, self._reader, self._shapes = store, reader, shapes

    async def create(self, _: Request, raw: bytes) -> Response:
        """`POST /v1/evals`."""
        spec = await self._reader.eval_spec(await parsed(raw))
        evaluation, made = await self._store.create_eval(spec)
        location = f"/v1/evals/{evaluation.id}"
        status = 201 if made else 200
        return await asyncio.to_thread(answer, self._shown(evaluation), status, location=location)

    async def list(self, request: Request) -> Response:
        """`GET /v1/evals`."""
        order = order_of(request, "desc")
        found, more = await self._store.list_evals(*paging(request), order)
        shown: Sequence[Shown] = [self._shown(evaluation) for evaluation in found]
        return page(shown, more, kept_since=await self._store.kept_since())

    async def get(self, request: Request) -> Response:
        """`GET /v1/evals/{id}`."""
        evaluation = await self._store.get_eval(request.path_params["eval_id"])
        return await asyncio.to_thread(answer, self._shown(evaluation))

    async def update(self, request: Request, raw: bytes) -> Response:
        """`POST /v1/evals/{id}`."""
        change = read_update(await parsed(raw))
        eval_id = request.path_params["eval_id"]
        evaluation = await self._store.update_eval(eval_id, change.name, change.metadata)
        return await asyncio.to_thread(answer, self._shown(evaluation))

    async def delete(self, request: Request) -> Response:
        """`DELETE /v1/evals/{id}`."""
        eval_id = request.path_params["eval_id"]
        await self._store.delete_eval(eval_id)
        return answer({"object": "eval.deleted", "deleted": True, "eval_id": eval_id})

    def _shown(self, evaluation: Evaluation) -> Shown:
        return shown_eval(evaluation) if self._shapes.of(evaluation) else evaluation
