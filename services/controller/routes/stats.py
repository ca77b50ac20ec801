"""`GET /v1/stats` and `GET /metrics/targets`: the fleet, for people and for Prometheus.

Owns the shapes of both. Asks the roster, and the admission for what waits.
"""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter

from services.controller.fleet.facts import service_facts
from services.controller.fleet.member import Member
from services.controller.fleet.roster import Roster
from services.controller.flow.admission import Admission
from shared.protocol.priority import Priority


def stats_routes(roster: Roster, admission: Admission) -> APIRouter:
    """Return both routes."""
    router = APIRouter(tags=["fleet"])

    @router.get("/v1/stats")
    async def stats() -> dict[str, Any]:
        now = time.monotonic()
        read = roster.snapshot_at is not None
        return {
            "services": [service_facts(member, now) for member in roster.members()],
            "refused": [
                {"id": name, "reason": why} for name, why in sorted(roster.refused.items())
            ],
            "queue": {each.name.lower(): admission.waiting(each) for each in Priority},
            "registry": {
                "reachable": roster.registry_reachable,
                "staleness_seconds": round(roster.staleness(now), 3) if read else None,
            },
        }

    @router.get("/metrics/targets")
    async def targets() -> list[dict[str, Any]]:
        return [scrape_target(member) for member in [*roster.members(), *roster.lost()]]

    return router


def scrape_target(member: Member) -> dict[str, Any]:
    """Return a service's entry in the form of Prometheus' HTTP service discovery."""
    record = member.record
    labels = {"service": record.kind}
    if record.kind == "worker":
        labels["worker"] = record.id
    # Prometheus takes http and /metrics unless it is told otherwise.
    if member.origin.tls:
        labels["__scheme__"] = "https"
    if member.origin.prefix:
        labels["__metrics_path__"] = f"{member.origin.prefix}/metrics"
    return {"targets": [member.origin.authority], "labels": labels}
