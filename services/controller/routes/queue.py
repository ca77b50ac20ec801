"""`/admin/queue`: what waits in this controller for a place on a worker.

Owns paths and answers. The order is the admission's.
"""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter

from services.controller.flow.admission import Admission
from services.controller.relay.call import Call
from shared.errors import NotFound


def queue_routes(admission: Admission) -> APIRouter:
    """Return the routes of the list and of taking one request out of it."""
    router = APIRouter(prefix="/admin/queue", tags=["admin"])

    @router.get("")
    async def list_waiting() -> dict[str, Any]:
        now = time.monotonic()
        return {"object": "list", "data": [_entry(call, now) for call in admission.queued()]}

    @router.delete("/{request_id}")
    async def cancel(request_id: str) -> dict[str, Any]:
        if not admission.cancel(request_id):
            raise NotFound(f"No request {request_id!r} waits here.", param="request_id")
        return {"id": request_id, "object": "request", "cancelled": True}

    return router


def _entry(call: Call, now: float) -> dict[str, Any]:
    return {
        "id": call.id,
        "object": "request",
        "model": call.model,
        "priority": call.priority.name.lower(),
        "key": call.key,
        "seconds": round(now - call.arrived, 3),
    }
