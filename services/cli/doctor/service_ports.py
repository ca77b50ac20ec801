"""The ports that the services want: free, ours already, or somebody else's.

Owns the question who has a port. Which ports those are, `looks` knows.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import orjson

from services.cli.doctor.check import Check, fail, ok, warn
from services.cli.doctor.port_holder import holder
from services.cli.doctor.programs import ask
from services.cli.up import ports
from services.cli.up.probes import Silence, http_get

_ANSWER_SECONDS = 1.0
_OURS = "llmzoo-"


def service_port(service: str, port: int) -> Check:
    """Find who has the port of one of our services."""
    name = f"port {port}"
    fix = f"set LLMZOO_{service.upper()}_PORT, or use llmzoo up --port-offset 100"
    try:
        if ports.is_free(ports.LOOPBACK, port):
            return ok(name, f"free for the {service}")
    except PermissionError:
        return fail(name, f"the {service} may not bind it: ports below 1024 are the system's", fix)
    there = asyncio.run(_service_there(port))
    if there == service:
        return ok(name, f"our {service} listens")
    by = f"our {there}" if there else _by_whom(port)
    if service == "worker":
        return ok(name, f"used by {by}; the worker takes the next free one")
    return fail(name, f"the {service}'s is used by {by}", f"end it, {fix}")


def published_port(variable: str, port: int) -> Check:
    """Find who has a port that docker-compose.yml publishes."""
    name = f"port {port}"
    try:
        if ports.is_free(ports.LOOPBACK, port):
            return ok(name, f"free for docker compose ({variable})")
    except PermissionError:
        pass  # Docker may bind what this user may not
    containers = _containers(port)
    if any(container.startswith(_OURS) for container in containers):
        return ok(name, f"published by {containers[0]}")
    fix = f"end it, or put {variable}=<another port> into .env"
    return warn(name, f"docker compose publishes on it, and it is used by {_by_whom(port)}", fix)


def _by_whom(port: int) -> str:
    if found := holder(port):
        return f"{found.name} (pid {found.pid})"
    if containers := _containers(port):
        return f"the container {containers[0]}"
    return f"another user's program (`sudo ss -ltnp sport = :{port}` names it)"


def _containers(port: int) -> list[str]:
    told = ask("docker", ["ps", "--filter", f"publish={port}", "--format", "{{.Names}}"])
    return told.out.split() if told is not None and told.well else []


async def _service_there(port: int) -> str:
    """Return which of our services listens there, empty if it is none."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            _, body = await http_get(ports.LOOPBACK, port, "/version")
        told = orjson.loads(body)
    except (Silence, TimeoutError, orjson.JSONDecodeError):
        return ""
    return str(cast("dict[str, Any]", told).get("service") or "") if isinstance(told, dict) else ""
