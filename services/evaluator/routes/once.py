"""Requests with an Idempotency-Key: done once, and answered again as they were the first time.

Owns which answers are kept: all but those that another try may better.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from services.evaluator.jobs.idempotency import Begun, IdempotencyStore
from services.evaluator.routes.incoming import raw_body
from shared.errors import InvalidRequest, LLMZooError
from shared.http.faults import error_response

HEADER = "idempotency-key"
PRINCIPAL_HEADER = "x-llmzoo-principal"
REPLAYED = {"idempotent-replayed": "true"}
_LONGEST_KEY = 255
_KEPT_HEADERS = ("content-type", "location")
_NOT_KEPT = frozenset({408, 429})
_SERVICE_FAULT = 500

Act = Callable[[Request, bytes], Awaitable[Response]]


class Once:
    """Makes handlers of requests that change something."""

    def __init__(self, store: IdempotencyStore, most: int) -> None:
        """Remember in `store`; bodies have at most so many bytes."""
        self._store = store
        self._most = most

    def handler(self, act: Act) -> Callable[[Request], Awaitable[Response]]:
        """Return the handler that does `act`, once for a key."""

        async def handle(request: Request) -> Response:
            raw = await raw_body(request, self._most)
            key = _key(request)
            if key is None:
                return await act(request, raw)
            principal = request.headers.get(PRINCIPAL_HEADER, "")
            begun = await self._store.begin(principal, key, _fingerprint(request, raw))
            if begun.kind == "replay":
                return Response(begun.body, begun.status, headers={**begun.headers, **REPLAYED})
            return await self._do(act, request, raw, begun)

        return handle

    async def _do(self, act: Act, request: Request, raw: bytes, begun: Begun) -> Response:
        try:
            response = await act(request, raw)
        except LLMZooError as fault:
            response = error_response(fault)
        except BaseException:
            await self._store.forget(begun)
            raise
        if response.status_code >= _SERVICE_FAULT or response.status_code in _NOT_KEPT:
            await self._store.forget(begun)
            return response
        headers = {name: value for name, value in response.headers.items() if name in _KEPT_HEADERS}
        await self._store.finish(begun, response.status_code, headers, bytes(response.body))
        return response


def _key(request: Request) -> str | None:
    keys = request.headers.getlist(HEADER)
    if not keys:
        return None
    key = keys[0].strip().strip('"')
    if len(keys) > 1 or not key or len(key) > _LONGEST_KEY:
        msg = f"'Idempotency-Key' must be one text of 1 to {_LONGEST_KEY} characters."
        raise InvalidRequest(msg, param="Idempotency-Key")
    return key


def _fingerprint(request: Request, raw: bytes) -> str:
    """Return what the same request has in common: what is asked for, and with which body."""
    content = hashlib.sha256()
    for part in (request.method, request.url.path, request.url.query):
        content.update(part.encode() + b"\0")
    content.update(raw)
    return content.hexdigest()
