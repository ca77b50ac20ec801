"""`llmzoo models`: what is served, and fetching a model ahead of its worker.

Owns the table. Fetching is the worker's own program, run as a process: torch stays out of here.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import orjson

from services.cli.client import call
from services.cli.table import columns
from services.cli.workers import state_text
from shared.client import APIError, ZooClient
from shared.settings import ClientSettings

_HEAD = ("MODEL", "STATE", "CONTEXT", "WORKERS")
_NOT_TOLD = "-"
_NOT_FOUND = 404


def show_models(settings: ClientSettings, *, as_json: bool) -> None:
    """Print the models that the server lists; raises as ZooClient."""
    rows = call(settings, model_rows)
    if as_json:
        print(orjson.dumps(rows).decode())
    elif rows:
        print(*columns(_HEAD, [_cells(row) for row in rows]), sep="\n")
    else:
        print("No worker has a model yet. `llmzoo workers` shows the fleet.")


def fetch_model(reference: str) -> int:
    """Fetch a model into the cache, with its progress on this terminal; return the exit code."""
    command = [sys.executable, "-m", "services.worker.models", "add", reference]
    return subprocess.run(command, check=False).returncode  # noqa: S603 - our own program


async def model_rows(client: ZooClient) -> list[dict[str, Any]]:
    """Return one row a model; what the server does not tell is None. Raises as ZooClient."""
    entries = await client.models()
    counts = await _worker_counts(client)
    return [
        {
            "id": str(entry["id"]),
            "state": entry.get("state"),
            "progress": entry.get("progress"),
            "context": entry.get("max_model_len") or None,
            "workers": counts.get(str(entry["id"]), 0) if counts is not None else None,
        }
        for entry in entries
    ]


async def _worker_counts(client: ZooClient) -> dict[str, int] | None:
    """Return how many workers have each model; None from a server that is not ours."""
    try:
        stats = await client.get("/v1/stats")
    except APIError as fault:
        if fault.status == _NOT_FOUND:
            return None
        raise
    counts: dict[str, int] = {}
    for service in stats["services"]:
        for model in service["models"]:
            counts[model["id"]] = counts.get(model["id"], 0) + 1
    return counts


def _cells(row: dict[str, Any]) -> list[str]:
    told = (row["context"], row["workers"])
    numbers = [_NOT_TOLD if number is None else str(number) for number in told]
    state = state_text(row["state"], row["progress"]) if row["state"] else _NOT_TOLD
    return [row["id"], state, *numbers]
