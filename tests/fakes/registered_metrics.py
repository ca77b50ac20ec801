"""Every metric that our services register, with its labels, read off their own registries."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from services.controller.app import create_app as controller
from services.evaluator.app import create_app as evaluator
from services.worker.app import create_app as worker
from shared.settings import ControllerSettings, EvaluatorSettings, WorkerSettings
from tests.fakes.endpoints_file import write_endpoints

_SAMPLES = {
    "counter": {"_total": ()},
    "histogram": {"_bucket": ("le",), "_sum": (), "_count": ()},
    "info": {"_info": ()},
}
_UNREACHABLE = "unix:///nonexistent/redis.sock"
_ADDRESS = "http://127.0.0.1:1"


def registered(folder: Path) -> dict[str, dict[str, frozenset[str]]]:
    """Return the labels of all samples' names, by service; `folder` is one to write in."""
    fleet = {"redis_url": _UNREACHABLE, "internal_token": "a token between services"}
    # Endpoints measure calls only where there are some.
    other = write_endpoints(
        folder, {"name": "other", "base_url": "http://127.0.0.1:9", "models": ["m"]}
    )
    apps = {
        "controller": controller(
            ControllerSettings(**fleet, call_store_dir=folder, endpoints_file=other), _ADDRESS
        ),
        "evaluator": evaluator(EvaluatorSettings(**fleet), _ADDRESS),
        "worker": worker(WorkerSettings(**fleet, model="demo"), _ADDRESS, print),
    }
    return {name: dict(_samples(_registry(made.app))) for name, made in apps.items()}


def _registry(app: Any) -> CollectorRegistry:
    """Return the registry that `GET /metrics` shows, through whatever stands before the route."""
    while not hasattr(app, "routes"):
        app = next(
            inner for name in ("app", "_app") if (inner := getattr(app, name, None)) is not None
        )
    (route,) = [each for each in app.routes if getattr(each, "path", "") == "/metrics"]
    found = inspect.getclosurevars(route.endpoint).nonlocals["registry"]
    assert isinstance(found, CollectorRegistry)
    return found


def _samples(registry: CollectorRegistry) -> Iterator[tuple[str, frozenset[str]]]:
    for collector in list(registry._collector_to_names):
        told = getattr(collector, "describe", collector.collect)()
        for family in told or collector.collect():
            labels = getattr(collector, "_labelnames", getattr(family, "_labelnames", ()))
            for ending, more in _SAMPLES.get(family.type, {"": ()}).items():
                yield family.name + ending, frozenset((*labels, *more))
