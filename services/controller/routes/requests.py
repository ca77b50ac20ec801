"""`/admin/requests`: the answers under way in this controller, and moving one to another worker.

Owns paths and answers. How an answer moves is the relay's.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field

from services.controller.fleet.roster import Roster
from services.controller.relay.running_answer import RunningAnswer
from services.controller.relay.running_answers import RunningAnswers
from services.controller.routes.admin_body import read_admin_body, schema_of
from shared.errors import InvalidRequest, NotFound
from shared.protocol.validation import Strict


class MoveRequest(Strict):
    """Body of `POST /admin/requests/{id}/move`; it may be left out."""

    worker: str = Field("", max_length=128, description="where it is to go on; empty: anywhere")


def requests_routes(running: RunningAnswers, roster: Roster) -> APIRouter:
    """Return the routes of the list and of moving one."""
    router = APIRouter(prefix="/admin/requests", tags=["admin"])

    def find(request_id: str) -> RunningAnswer:
        answer = running.find(request_id)
        if answer is None:
            raise NotFound(f"No request {request_id!r} is answered here.", param="request_id")
        return answer

    @router.get("")
    async def list_running() -> dict[str, Any]:
        now = time.monotonic()
        return {"object": "list", "data": [_entry(answer, now) for answer in running]}

    @router.get("/{request_id}")
    async def get_running(request_id: str) -> dict[str, Any]:
        return _entry(find(request_id), time.monotonic())

    @router.post("/{request_id}/move", openapi_extra=schema_of(MoveRequest, required=False))
    async def move(request_id: str, request: Request) -> dict[str, Any]:
        target = (await read_admin_body(request, MoveRequest)).worker
        answer = find(request_id)
        here = answer.exchange.worker.id
        if target:
            _check_target(answer, target, roster)
        # Whoever asked may leave; the answer moves all the same.
        moved = await asyncio.shield(answer.ask_to_move(target))
        return {
            "id": request_id,
            "object": "request",
            "from": here,
            "to": moved.worker,
            "exact": moved.exact,
        }

    return router


def _check_target(answer: RunningAnswer, target: str, roster: Roster) -> None:
    """Raise if an answer cannot go to the worker `target`."""
    if target == answer.exchange.worker.id:
        raise InvalidRequest(f"It is at the worker {target!r} already.", param="worker")
    if target not in {member.id for member in roster.ready(answer.call.model)}:
        msg = f"The worker {target!r} is not ready for the model '{answer.call.model}'."
        raise InvalidRequest(msg, param="worker")


def _entry(answer: RunningAnswer, now: float) -> dict[str, Any]:
    call = answer.call
    return {
        "id": call.id,
        "object": "request",
        "answer": answer.start.id,
        "model": call.model,
        "worker": answer.exchange.worker.id,
        "stream": call.stream,
        "priority": call.priority.name.lower(),
        "key": call.key,
        "seconds": round(now - call.arrived, 3),
        "tokens": answer.ledger.total,
        "losses": answer.losses.total(),
    }
