"""What runs: the ports that `llmzoo up` wants, and the controller that clients ask.

Every function is one finding of `llmzoo doctor`, or one a port.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import orjson

from services.cli.client import call
from services.cli.doctor.check import Check, Status
from services.cli.up import ports
from services.cli.up.probes import Silence, http_get
from shared.errors import LLMZooError, Unavailable
from shared.settings import ClientSettings, ZooSettings


def wanted_ports(settings: ZooSettings) -> list[Check]:
    """Find who has the ports of the four services."""
    return [
        _port("controller", settings.controller_port),
        _port("evaluator", settings.evaluator_port),
        _port("webui", settings.webui_port),
        _port("worker", settings.worker_port),
    ]


def _port(service: str, port: int) -> Check:
    name = f"port {port}"
    if ports.is_free(ports.LOOPBACK, port):
        return Check(name, Status.OK, f"free for the {service}")
    holder = asyncio.run(_our_service(port))
    if holder:
        return Check(name, Status.OK, f"our {holder} listens")
    if service == "worker":
        return Check(name, Status.OK, "used by another program; the worker takes the next free one")
    fix = f"end it, set LLMZOO_{service.upper()}_PORT, or use llmzoo up --port-offset 100"
    return Check(name, Status.FAIL, f"the {service}'s is used by another program", fix)


async def _our_service(port: int) -> str:
    """Return which of our services listens there, empty if it is none."""
    try:
        _, body = await http_get(ports.LOOPBACK, port, "/version")
        told = orjson.loads(body)
    except (Silence, orjson.JSONDecodeError):
        return ""
    return str(cast("dict[str, Any]", told).get("service") or "") if isinstance(told, dict) else ""


def controller(settings: ClientSettings) -> Check:
    """Find whether the controller answers, and with which models."""
    try:
        models = [str(entry["id"]) for entry in call(settings, lambda client: client.models())]
    except Unavailable:
        found = f"nothing answers at {settings.base_url}"
        return Check("controller", Status.WARN, found, "llmzoo up, or set LLMZOO_BASE_URL")
    except LLMZooError as fault:
        found = f"{settings.base_url}: {fault.message}"
        return Check("controller", Status.FAIL, found, "see the controller's log")
    found = f"{settings.base_url} serves {', '.join(models) or 'no model yet'}"
    return Check("controller", Status.OK, found)
