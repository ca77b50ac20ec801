"""`/admin/keys`: API keys made, listed, changed and revoked by an operator.

Owns paths, statuses and shapes. The guard has asked for the scope admin before.
"""

from __future__ import annotations

from typing import Any, TypeVar

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from services.controller.access.key_record import KeyLimits, KeyRecord, KeySpec, wall_clock
from services.controller.access.keyring import Keyring
from services.controller.access.keys import KeyStore
from services.controller.access.principal import Principal
from shared.errors import InvalidRequest
from shared.http.body import ClientGone, read_body
from shared.protocol.body import parse_object
from shared.protocol.validation import Strict, as_invalid_request

log = structlog.get_logger(__name__)

_MAX_BODY_BYTES = 16 * 1024

SpecT = TypeVar("SpecT", bound=Strict)


def keys_routes(store: KeyStore, keyring: Keyring) -> APIRouter:
    """Return the routes of `/admin/keys`."""
    router = APIRouter(prefix="/admin/keys", tags=["keys"])

    @router.post("", status_code=201, openapi_extra=_body_of(KeySpec))
    async def create(request: Request, response: Response) -> dict[str, Any]:
        spec = await _read(request, KeySpec)
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

    @router.patch("/{key_id}", openapi_extra=_body_of(KeyLimits))
    async def change(key_id: str, request: Request) -> dict[str, Any]:
        record = await store.limit(key_id, await _read(request, KeyLimits))
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


async def _read(request: Request, shape: type[SpecT]) -> SpecT:
    """Return the request's body as `shape`.

    Raises:
        InvalidRequest: it is none; the first fault is named. BodyTooLarge: over 16 KB.
    """
    try:
        body = parse_object(await read_body(request.scope, request.receive, _MAX_BODY_BYTES))
        return shape.model_validate(body)
    except ClientGone:
        msg = "The client left before its body was complete."
        raise InvalidRequest(msg) from None
    except ValidationError as fault:
        raise as_invalid_request(fault) from None


def _body_of(shape: type[Strict]) -> dict[str, Any]:
    """Return what the API's description says of a body that we read ourselves."""
    content = {"application/json": {"schema": shape.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}
