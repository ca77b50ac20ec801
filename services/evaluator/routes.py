"""The evaluation API over HTTP: requests in, objects out. Executes nothing.

Owns paths, statuses and paging. What is a valid spec is in `specs`, what is kept in the store.
While the service ends, what still comes is taken: it is kept, and whoever is there executes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import orjson
from starlette.responses import Response
from starlette.routing import Route

from services.evaluator.specs import parse_eval, parse_run
from shared.errors import InvalidRequest
from shared.http.body import ClientGone, read_body
from shared.protocol.body import parse_object

if TYPE_CHECKING:
    from pydantic import BaseModel
    from starlette.requests import Request

    from services.evaluator.jobs.store import EvalStore

_DEFAULT_LIMIT, _MAX_LIMIT = 20, 100


class EvalRoutes:
    """Answers `/v1/evals` and all below."""

    def __init__(
        self,
        store: EvalStore,
        max_body_bytes: int,
        changed: Callable[[], None],
    ) -> None:
        """Serve from `store`.

        Args:
            store: evals and runs.
            max_body_bytes: largest body that is read.
            changed: called when a run was created or cancelled.
        """
        self._store = store
        self._max_body_bytes = max_body_bytes
        self._changed = changed

    def routes(self) -> list[Route]:
        """Return the routes."""
        run = "/v1/evals/{eval_id}/runs/{run_id}"
        table: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("POST", "/v1/evals", self._create_eval),
            ("GET", "/v1/evals", self._list_evals),
            ("GET", "/v1/evals/{eval_id}", self._get_eval),
            ("POST", "/v1/evals/{eval_id}/runs", self._create_run),
            ("GET", "/v1/evals/{eval_id}/runs", self._list_runs),
            ("GET", run, self._get_run),
            ("GET", f"{run}/output_items", self._list_items),
            ("POST", f"{run}/cancel", self._cancel),
        ]
        return [Route(path, handler, methods=[method]) for method, path, handler in table]

    async def _create_eval(self, request: Request) -> Response:
        body = await self._body(request)
        evaluation = await self._store.create_eval(parse_eval(body))
        return _answer(evaluation, 201, location=f"/v1/evals/{evaluation.id}")

    async def _list_evals(self, request: Request) -> Response:
        found = await self._store.list_evals(*_paging(request))
        return _page(*found, kept_since=await self._store.kept_since())

    async def _get_eval(self, request: Request) -> Response:
        return _answer(await self._store.get_eval(request.path_params["eval_id"]))

    async def _create_run(self, request: Request) -> Response:
        body = await self._body(request)
        evaluation = await self._store.get_eval(request.path_params["eval_id"])
        run = await self._store.create_run(evaluation, parse_run(body))
        self._changed()
        return _answer(run, 202, location=f"/v1/evals/{evaluation.id}/runs/{run.id}")

    async def _list_runs(self, request: Request) -> Response:
        evaluation = await self._store.get_eval(request.path_params["eval_id"])
        return _page(*await self._store.list_runs(evaluation, *_paging(request)))

    async def _get_run(self, request: Request) -> Response:
        return _answer(await self._store.get_run(**request.path_params))

    async def _list_items(self, request: Request) -> Response:
        evaluation = await self._store.get_eval(request.path_params["eval_id"])
        run = await self._store.get_run(**request.path_params)
        return _page(*await self._store.output_items(evaluation, run, *_paging(request)))

    async def _cancel(self, request: Request) -> Response:
        run = await self._store.cancel(await self._store.get_run(**request.path_params))
        self._changed()
        return _answer(run)

    async def _body(self, request: Request) -> dict[str, Any]:
        try:
            raw = await read_body(request.scope, request.receive, self._max_body_bytes)
        except ClientGone:
            # Nobody reads this answer; it only ends the request in the logs.
            msg = "The request broke off before its end."
            raise InvalidRequest(msg) from None
        return parse_object(raw)


def _paging(request: Request) -> tuple[str | None, int]:
    """Return `after` and `limit`. Raises InvalidRequest."""
    limit = request.query_params.get("limit", str(_DEFAULT_LIMIT))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:6]) <= _MAX_LIMIT):
        msg = f"'limit' must be a whole number from 1 to {_MAX_LIMIT}."
        raise InvalidRequest(msg, param="limit")
    return request.query_params.get("after"), int(limit)


def _answer(told: BaseModel, status: int = 200, *, location: str = "") -> Response:
    headers = {"location": location} if location else None
    return Response(told.model_dump_json(), status, media_type="application/json", headers=headers)


def _page(found: Sequence[Any], has_more: bool, **more: int) -> Response:
    """Return a list as OpenAI's API has it, with `more` told of it."""
    content = {
        "object": "list",
        "data": [told.model_dump(mode="json") for told in found],
        "first_id": found[0].id if found else None,
        "last_id": found[-1].id if found else None,
        "has_more": has_more,
        **more,
    }
    return Response(orjson.dumps(content), media_type="application/json")
