"""The five lines that `llmzoo up` prints when everything is ready.

Owns their text. Asks the controller once how the model is called, so that the line to try works
as it stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.cli.up.plan import Role, ServicePlan
from services.cli.up.probes import OK_STATUS, Silence, http_get

if TYPE_CHECKING:
    from collections.abc import Sequence

UNAUTHORIZED_STATUS = 401
ROSTER_SECONDS = 5.0
ROSTER_INTERVAL_SECONDS = 0.1
QUESTION = "What is the capital of France?"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """How to name the model in a request, and whether a key must be sent."""

    name: str
    needs_key: bool = False


async def find_served_model(plans: Sequence[ServicePlan], fallback: str) -> ServedModel:
    """Return the first model that the API lists; `fallback` when it lists none."""
    api = find_api(plans)
    if api is None:
        return ServedModel(fallback)
    # A worker that is ready shows in the controller's roster a moment later.
    patience = ROSTER_SECONDS if any(plan.role is Role.WORKER for plan in plans) else 0.0
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        with contextlib.suppress(Silence):
            status, body = await http_get(api.host, api.port, "/v1/models")
            if status == UNAUTHORIZED_STATUS:
                return ServedModel(fallback, needs_key=True)
            if status == OK_STATUS and (name := _first_model(body)):
                return ServedModel(name)
        if loop.time() >= deadline:
            return ServedModel(fallback)
        await asyncio.sleep(ROSTER_INTERVAL_SECONDS)


def find_api(plans: Sequence[ServicePlan]) -> ServicePlan | None:
    """Return what answers OpenAI's paths: the controller, without one the first worker."""
    by_role = {plan.role: plan for plan in reversed(plans)}
    return by_role.get(Role.CONTROLLER) or by_role.get(Role.WORKER)


def find_chat(plans: Sequence[ServicePlan]) -> ServicePlan | None:
    """Return the web UI, if it runs."""
    return next((plan for plan in plans if plan.role is Role.WEBUI), None)


def announcement(
    plans: Sequence[ServicePlan], model: ServedModel, stop_command: str = "llmzoo down"
) -> list[str]:
    """Return the lines for the services that run, all five when all of them do."""
    chat, api = find_chat(plans), find_api(plans)
    lines: list[str] = []
    if chat is not None:
        lines.append(f"Chat:    {chat.url}")
    if api is not None:
        lines.append(f"API:     {api.url}/v1")
    lines.append(f"Metrics: {(api or plans[0]).url}/metrics")
    if api is not None:
        lines.append(f"Try:     {curl_line(api, model)}")
    lines.append(f"Stop:    Ctrl-C here, or `{stop_command}` in another terminal")
    return lines


def curl_line(api: ServicePlan, model: ServedModel) -> str:
    """Return a shell command that asks one question."""
    body = json.dumps(
        {
            "model": model.name,
            "messages": [{"role": "user", "content": QUESTION}],
            "max_tokens": 50,
            "temperature": 0,
        }
    )
    key = ' -H "Authorization: Bearer $LLMZOO_API_KEY"' if model.needs_key else ""
    return (
        f"curl {api.url}/v1/chat/completions -H 'Content-Type: application/json'{key}"
        f" -d {shlex.quote(body)}"
    )


def _first_model(body: bytes) -> str:
    try:
        models = json.loads(body)["data"]
        return str(models[0]["id"]) if models else ""
    except (ValueError, KeyError, TypeError, IndexError):
        return ""
