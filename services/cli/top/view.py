"""What `llmzoo top` shows of `GET /v1/stats`, as text: a line of totals, and a row a worker.

Knows no terminal and no server.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from services.cli.workers import NOT_TOLD, rate_text, service_state

HEAD = (
    "WORKER",
    "STATE",
    "MODELS",
    "RUNNING",
    "WAITING",
    "SENT",
    "TOK/S",
    "KV",
    "PREFIX",
    "SPEED",
    "BREAKER",
)


def totals(stats: dict[str, Any]) -> str:
    """Return the line above the table."""
    workers = _workers(stats)
    loads: list[dict[str, Any]] = [worker["load"] or {} for worker in workers]
    queue: dict[str, int] = stats.get("queue") or {}
    ready = sum(worker["state"] == "ready" and not worker["stale"] for worker in workers)
    parts = [
        f"{ready} of {len(workers)} workers ready",
        f"{sum(worker['inflight'] for worker in workers)} sent",
        f"{sum(load.get('running', 0) for load in loads)} running",
        ", ".join(f"{count} {name}" for name, count in queue.items()) + " in the queue",
        f"{sum(load.get('tokens_per_second', 0.0) for load in loads):.0f} tokens/s",
    ]
    if not stats["registry"]["reachable"]:
        parts.append("Redis cannot be reached: workers as they were last")
    return " · ".join(parts)


def rows(stats: dict[str, Any]) -> Iterator[list[str]]:
    """Yield the cells of each worker."""
    for worker in _workers(stats):
        load: dict[str, Any] = worker["load"] or {}
        routing: dict[str, Any] = worker.get("routing") or {}
        running, places = load.get("running"), load.get("max_num_seqs")
        yield [
            worker["id"],
            service_state(worker),
            " ".join(model["id"] for model in worker["models"]) or NOT_TOLD,
            NOT_TOLD if running is None else f"{running}/{places}" if places else str(running),
            str(load.get("waiting", NOT_TOLD)),
            str(worker["inflight"]),
            rate_text(load),
            _percent(routing.get("kv_use")),
            _percent(routing.get("prefix_hit_ratio")),
            f"{routing['speed']:g}" if routing else NOT_TOLD,
            routing.get("breaker", NOT_TOLD),
        ]


def _workers(stats: dict[str, Any]) -> list[dict[str, Any]]:
    return [service for service in stats["services"] if service["kind"] == "worker"]


def _percent(part: float | None) -> str:
    return NOT_TOLD if part is None else f"{100 * part:.0f} %"
