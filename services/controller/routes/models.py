"""`GET /v1/models`: what can be asked, and what soon can.

Owns OpenAI's list shape with the fields that we add to it. Asks the roster and the endpoints.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from services.controller.endpoints.endpoints import Endpoints
from services.controller.fleet.roster import ModelState, Roster
from shared.errors import ModelNotFound


def models_routes(roster: Roster, endpoints: Endpoints) -> APIRouter:
    """Return the routes of the list and of one model."""
    router = APIRouter(prefix="/v1/models", tags=["models"])

    @router.get("")
    async def list_models() -> dict[str, Any]:
        entries = [_entry(name, known) for name, known in roster.models().items()]
        entries += [external.listed() for external in endpoints.models.values()]
        return {"object": "list", "data": entries}

    # Names of models may hold slashes.
    @router.get("/{model:path}")
    async def get_model(model: str) -> dict[str, Any]:
        external = endpoints.find(model)
        if external is not None:
            return external.listed()
        known = roster.models().get(model)
        if known is None:
            msg = f"The model '{model}' does not exist here."
            raise ModelNotFound(msg, param="model")
        return _entry(model, known)

    return router


def _entry(name: str, known: ModelState) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": name,
        "object": "model",
        "created": known.info.created,
        "owned_by": "llmzoo",
        "max_model_len": known.info.max_model_len,
        "state": known.state,
    }
    if known.progress is not None:
        entry["progress"] = known.progress
    return entry
