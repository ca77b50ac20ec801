"""`/admin/workers`: the workers one by one, and taking them out of service.

Owns paths and answers. A worker drains itself; here it is told to.
"""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter

from services.controller.fleet.facts import service_facts
from services.controller.fleet.member import Member
from services.controller.fleet.roster import Roster
from services.controller.upstream.internal_call import internal_post
from services.controller.upstream.pool import UpstreamPool
from shared.errors import NotFound, UpstreamFailed
from shared.protocol.drain import DRAIN_PATH, drain_body

_OK = 200


def workers_routes(roster: Roster, pool: UpstreamPool, authorization: dict[str, str]) -> APIRouter:
    """Return the routes; workers are told things with the fleet's own `authorization`."""
    router = APIRouter(prefix="/admin/workers", tags=["admin"])
    headers = {"content-type": "application/json", **authorization}

    def find(worker_id: str) -> Member:
        for member in _workers(roster):
            if member.id == worker_id:
                return member
        raise NotFound(f"There is no worker {worker_id!r}.", param="worker_id")

    async def tell(worker_id: str, *, draining: bool) -> dict[str, Any]:
        worker = find(worker_id)
        body = drain_body(draining=draining)
        status = await internal_post(pool, worker.origin, DRAIN_PATH, headers, body)
        if status != _OK:
            msg = f"The worker {worker_id!r} answered with status {status}."
            raise UpstreamFailed(msg)
        return {"id": worker_id, "object": "worker", "draining": draining}

    @router.get("")
    async def list_workers() -> dict[str, Any]:
        now = time.monotonic()
        data = [service_facts(member, now) for member in _workers(roster)]
        return {"object": "list", "data": data}

    @router.get("/{worker_id}")
    async def get_worker(worker_id: str) -> dict[str, Any]:
        return service_facts(find(worker_id), time.monotonic())

    @router.post("/{worker_id}/drain")
    async def drain(worker_id: str) -> dict[str, Any]:
        return await tell(worker_id, draining=True)

    @router.delete("/{worker_id}/drain")
    async def undo_drain(worker_id: str) -> dict[str, Any]:
        return await tell(worker_id, draining=False)

    return router


def _workers(roster: Roster) -> list[Member]:
    return [member for member in roster.members() if member.record.kind == "worker"]
