"""What the controller tells of its fleet in `GET /v1/stats`."""

from __future__ import annotations

from typing import Any


def routing(**fields: Any) -> dict[str, Any]:
    """Return what the controller's policy looks at, with these fields instead of its own."""
    return {
        "speed": 1.0,
        "breaker": "closed",
        "occupied": 3,
        "kv_use": 0.25,
        "prefix_hit_ratio": None,
        **fields,
    }


def service(**fields: Any) -> dict[str, Any]:
    """Return the entry of a ready worker, with these fields instead of its own."""
    return {
        "id": "worker-host-8010",
        "kind": "worker",
        "state": "ready",
        "progress": None,
        "detail": "",
        "address": "http://127.0.0.1:8010",
        "models": [{"id": "demo"}],
        "load": {"running": 2, "waiting": 1},
        "inflight": 1,
        "stale": False,
        "routing": routing(),
        **fields,
    }
