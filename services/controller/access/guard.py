"""API keys: who may ask at all.

Owns the check of the bearer token, on every route but the health checks. Knows no scopes yet
and no limits.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from shared.errors import Unauthorized
from shared.http.faults import send_error

_OPEN = "/health/"


class KeyGuard:
    """ASGI middleware that lets nobody through without a key, if there are keys."""

    def __init__(self, app: ASGIApp, keys: Iterable[str]) -> None:
        """Wrap `app`; no keys: everybody may ask."""
        self._app = app
        self._digests = [_digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that has a key, refuse another."""
        guarded = scope["type"] == "http" and not scope["path"].startswith(_OPEN)
        if self._digests and guarded:
            fault = self._fault(scope)
            if fault is not None:
                await send_error(send, fault)
                return
        await self._app(scope, receive, send)

    def _fault(self, scope: Scope) -> Unauthorized | None:
        credentials = next((v for n, v in scope["headers"] if n == b"authorization"), b"")
        scheme, _, key = credentials.partition(b" ")
        if scheme.lower() != b"bearer" or not key.strip():
            return Unauthorized(
                "Send an API key, as 'Authorization: Bearer KEY'.", code="missing_api_key"
            )
        digest = _digest(key.strip())
        # All are compared, so that the time tells nothing about which one came near.
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return None if any(matches) else Unauthorized("This API key is not valid.")


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
