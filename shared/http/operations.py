"""The four routes that every service has: two health checks, metrics, version.

Owns their form, and the metrics that each process has of itself. Whether a service is ready, it
says itself.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from importlib.metadata import version
from typing import Any, cast

import orjson
from prometheus_client import CollectorRegistry, Gauge, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.process_collector import ProcessCollector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

VERSION = version("llmzoo")
_OPEN_METRICS = "application/openmetrics-text"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a service can do its work now, and what a person should know of it."""

    ready: bool
    state: str
    detail: dict[str, Any] = field(default_factory=dict[str, Any])


def operations_routes(
    service: str, registry: CollectorRegistry, readiness: Callable[[], Readiness]
) -> list[Route]:
    """Return the routes `/health/live`, `/health/ready`, `/metrics` and `/version`.

    Args:
        service: name told by `/version` and `llmzoo_build_info`.
        registry: metrics of this service; the process's own are added to it.
        readiness: asked at each check, on the event loop; must not block.
    """
    _tell_of_process(service, registry)

    async def live(_: Request) -> Response:
        return _json({"status": "live"})

    async def ready(_: Request) -> Response:
        now = readiness()
        # Where a process replaces another one on its socket, the pid tells which of them answers.
        body = {"state": now.state, "pid": os.getpid(), **now.detail}
        return _json(body, 200 if now.ready else 503)

    async def metrics(request: Request) -> Response:
        if _OPEN_METRICS in request.headers.get("accept", "").lower():
            # It is untyped, and gives bytes.
            body = cast("bytes", cast("Any", openmetrics).generate_latest(registry))
            return Response(body, media_type=openmetrics.CONTENT_TYPE_LATEST)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def tell_version(_: Request) -> Response:
        return _json({"service": service, "version": VERSION, "python": platform.python_version()})

    return [
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/metrics", metrics),
        Route("/version", tell_version),
    ]


def _tell_of_process(service: str, registry: CollectorRegistry) -> None:
    """Add what is measured of every process."""
    # When each series began doubles their number, and Prometheus asks for it nowhere.
    disable_created_metrics()
    ProcessCollector(registry=registry)
    build = Gauge("llmzoo_build_info", "1", ["service", "version"], registry=registry)
    build.labels(service, VERSION).set(1)


def _json(content: object, status: int = 200) -> Response:
    # Our servers send no Date by themselves; here it shows a clock that goes wrong.
    headers = {"date": formatdate(usegmt=True)}
    return Response(orjson.dumps(content), status, headers, media_type="application/json")
