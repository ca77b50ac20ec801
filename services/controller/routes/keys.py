"""`/admin/keys`: API keys made, listed, changed and revoked by an operator.

Owns paths, statuses and shapes. The guard has asked for the scope admin before.
"""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import APIRouter, Request, Response

from services.controller.access.key_record import KeyLimits, KeyRecord, KeySpec, wall_clock
from services.controller.access.keyring import Keyring
from services.controller.access.keys import KeyStore
from services.controller.access.principal import Principal
from services.controller.routes.admin_body import read_admin_body, schema_of

log = structlog.get_logger(__name__)


def keys_routes(store: KeyStore, keyring: Keyring) -> APIRouter:
    """Return the routes of `/admin/keys`."""
    router = APIRouter(prefix="/admin/keys", tags=["keys"])

    @router.post("", status_code=201, openapi_extra=schema_of(KeySpec))
    async def create(request: Request, response: Response) -> dict[str, Any]:
        spec = await read_admin_body(request, KeySpec)
        key, record = await store.create(spec)
        _tell("API key made", record, request)
        response.headers["cache-control"] = "no-store"
        return {**record.told(wall_clock()), "key": key}

    @router.get("")
    async def list_keys() -> dict[str, Any]:
        now = wall_clock()
        return {"object": "list", "data": [record.told(now) for record in await store.all()]}

    @router.get("/{key_id}")
    async def show(key_id: str) -> dict[str, Any]:
        return (await store.get(key_id)).told(wall_clock())

    @router.patch("/{key_id}", openapi_extra=schema_of(KeyLimits))
    async def change(key_id: str, request: Request) -> dict[str, Any]:
        record = await store.limit(key_id, await read_admin_body(request, KeyLimits))
        keyring.learn(record)
        _tell("API key changed", record, request)
        return record.told(wall_clock())

    @router.delete("/{key_id}")
    async def revoke(key_id: str, request: Request) -> dict[str, Any]:
        record = await store.revoke(key_id)
        keyring.learn(record)
        _tell("API key revoked", record, request)
        return record.told(wall_clock())

    return router


def _tell(event: str, record: KeyRecord, request: Request) -> None:
    """Log who did what to which key."""
    operator: Principal = request.scope["state"]["principal"]
    log.info(event, key=record.id, name=record.name, by=operator.id)
