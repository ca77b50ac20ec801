"""API keys: who may ask at all.

Owns the check of the bearer token, on every route but the health checks. Knows no scopes yet
and no limits.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from starlette.types import Scope

from shared.errors import Unauthorized

_OPEN = "/health/"


class KeyGuard:
    """Lets nobody through without a key, if there are keys."""

    def __init__(self, keys: Iterable[str]) -> None:
        """Know these keys; none: everybody may ask."""
        self._digests = [_digest(key.encode()) for key in keys]

    def check(self, scope: Scope) -> None:
        """Raise Unauthorized for a request that has no valid key and needs one."""
        if self._digests and not scope["path"].startswith(_OPEN):
            fault = self._fault(scope)
            if fault is not None:
                raise fault

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
