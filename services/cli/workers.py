"""`llmzoo workers`: every service of the fleet, as the controller sees it.

Owns the table over `GET /v1/stats`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import orjson

from services.cli.client import call
from services.cli.table import columns
from shared.settings import ClientSettings

_HEAD = (
    "SERVICE",
    "STATE",
    "ADDRESS",
    "MODELS",
    "RUNNING",
    "WAITING",
    "TOK/S",
    "SPEED",
    "BREAKER",
    "REMARK",
)
NOT_TOLD = "-"


def show_workers(settings: ClientSettings, *, as_json: bool) -> None:
    """Print the fleet; raises as ZooClient."""
    stats = call(settings, lambda client: client.get("/v1/stats"))
    # The client's own addition.
    stats.pop("_request_id", None)
    if as_json:
        print(orjson.dumps(stats).decode())
        return
    print(*columns(_HEAD, list(fleet_rows(stats))), sep="\n")
    if not stats["registry"]["reachable"]:
        print("The controller cannot reach Redis: this is what it knew last.", file=sys.stderr)


def fleet_rows(stats: dict[str, Any]) -> Iterator[list[str]]:
    """Yield the cells of each service, then of each that the controller refuses."""
    for service in stats["services"]:
        load: dict[str, Any] = service["load"] or {}
        routing: dict[str, Any] = service.get("routing") or {}
        yield [
            service["id"],
            service_state(service),
            service["address"],
            " ".join(model["id"] for model in service["models"]) or NOT_TOLD,
            str(load.get("running", NOT_TOLD)),
            str(load.get("waiting", NOT_TOLD)),
            rate_text(load),
            f"{routing['speed']:g}" if routing else NOT_TOLD,
            routing.get("breaker", NOT_TOLD),
            service["detail"],
        ]
    for refused in stats["refused"]:
        nothing = [NOT_TOLD] * 7
        yield [refused["id"], "refused", *nothing, refused["reason"]]


def service_state(service: dict[str, Any]) -> str:
    """Return the state of an entry of `/v1/stats`."""
    return "lost" if service["stale"] else state_text(service["state"], service["progress"])


def rate_text(load: dict[str, Any]) -> str:
    """Return the tokens a second that a load tells of."""
    rate = load.get("tokens_per_second")
    return NOT_TOLD if rate is None else f"{rate:.0f}"


def state_text(state: str, progress: float | None) -> str:
    """Return `downloading 43 %`, or the state alone where no progress is known."""
    return state if progress is None else f"{state} {progress:.0%}".replace("%", " %")
