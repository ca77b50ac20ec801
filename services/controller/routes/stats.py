"""`GET /v1/stats` and `GET /metrics/targets`: the fleet, for people and for Prometheus.

Owns the shapes of both. Asks the roster alone.
"""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter

from services.controller.fleet.member import Member
from services.controller.fleet.roster import Roster


def stats_routes(roster: Roster) -> APIRouter:
    """Return both routes."""
    router = APIRouter(tags=["fleet"])

    @router.get("/v1/stats")
    async def stats() -> dict[str, Any]:
        now = time.monotonic()
        read = roster.snapshot_at is not None
        return {
            "services": [_service(member, now) for member in roster.members()],
            "refused": [
                {"id": name, "reason": why} for name, why in sorted(roster.refused.items())
            ],
            "registry": {
                "reachable": roster.registry_reachable,
                "staleness_seconds": round(roster.staleness(now), 3) if read else None,
            },
        }

    @router.get("/metrics/targets")
    async def targets() -> list[dict[str, Any]]:
        return [_target(member) for member in [*roster.members(), *roster.lost()]]

    return router


def _service(member: Member, now: float) -> dict[str, Any]:
    record = member.record
    return {
        "id": record.id,
        "kind": record.kind,
        "state": record.state,
        "progress": record.progress,
        "detail": record.detail,
        "address": record.address,
        "version": record.version,
        "started_at": record.started_at,
        "models": [info.model_dump() for info in record.models],
        "load": record.load.model_dump() if record.load else None,
        "inflight": member.inflight,
        "beat_age_seconds": round(now - member.fresh_at, 3),
        "stale": member.stale,
    }


def _target(member: Member) -> dict[str, Any]:
    record = member.record
    labels = {"service": record.kind}
    if record.kind == "worker":
        labels["worker"] = record.id
    return {"targets": [member.origin.authority], "labels": labels}
