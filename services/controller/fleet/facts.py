"""A member of the fleet as JSON: what `/v1/stats` and the admin routes tell of it."""

from __future__ import annotations

from typing import Any

from services.controller.fleet.member import Member


def service_facts(member: Member, now: float) -> dict[str, Any]:
    """Return what is known of a service at `now`, in seconds of the monotonic clock."""
    record = member.record
    facts: dict[str, Any] = {
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
    if record.kind == "worker":
        facts["routing"] = _routing(member, now)
    return facts


def _routing(member: Member, now: float) -> dict[str, Any]:
    """Return what this controller's policy looks at."""
    hits = member.prefix_hit_ratio
    return {
        "speed": round(member.speed, 3),
        "breaker": member.breaker.state(now).name.lower(),
        "occupied": member.occupied,
        "prefill_backlog_tokens": round(member.prefill_backlog),
        "decode_backlog_tokens": round(member.decode_backlog),
        "prefill_tokens_per_second": round(member.prefill_rate, 1),
        "decode_tokens_per_second": round(member.decode_rate, 1),
        "kv_use": round(member.kv_use, 4),
        "prefix_hit_ratio": None if hits is None else round(hits, 4),
    }
