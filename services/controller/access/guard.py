"""Who may ask what: every request passes here, and by default it is refused.

Owns the bearer token's way to a principal, which it puts into `scope["state"]["principal"]`,
and the refusals 401 and 403. What a path needs is in `scopes`, who holds a key in `keyring`.
"""

from __future__ import annotations

from functools import lru_cache

from starlette.types import Scope

from services.controller.access import scopes
from services.controller.access.key_record import KEY_PREFIX
from services.controller.access.keyring import Keyring
from services.controller.access.principal import ANONYMOUS, Principal
from shared.errors import Forbidden, Unauthorized
from shared.http.local_callers import LocalCallers

# Clients choose paths; those that are really asked for are few.
_needed = lru_cache(maxsize=1024)(scopes.needed)


class KeyGuard:
    """Lets through who holds a key with the path's scope."""

    def __init__(self, keyring: Keyring, local: LocalCallers | None) -> None:
        """Ask `keyring`; callers that `local` lets in need no key."""
        self._keyring = keyring
        self._local = local

    async def admit(self, scope: Scope) -> None:
        """Note in the scope's state who asks.

        Raises:
            Unauthorized, Forbidden, KeysUnreachable: the request goes no further.
        """
        path = scope["path"]
        if path in scopes.OPEN:
            return
        key = _bearer(scope)
        principal = None if key is None else self._keyring.known(key)
        if principal is None:
            principal = await self._identify(scope, key)
        _check_scope(principal, path)
        scope["state"]["principal"] = principal

    async def _identify(self, scope: Scope, key: bytes | None) -> Principal:
        """Return who asks, where that is not known at once.

        Raises:
            Unauthorized: no key, or a wrong one. Forbidden: a foreign page asks without one.
            KeysUnreachable: nobody can tell now.
        """
        # OpenAI's clients send something always ("none", "EMPTY"); only ours can be a wrong key.
        if self._local is not None and (key is None or not key.startswith(KEY_PREFIX)):
            self._local.check(scope["headers"])
            return ANONYMOUS
        if key is None:
            msg = "Send an API key, as 'Authorization: Bearer KEY'."
            raise Unauthorized(msg, code="missing_api_key")
        found = await self._keyring.find(key)
        if found is None:
            raise Unauthorized("This API key is not valid.")
        return found


def _bearer(scope: Scope) -> bytes | None:
    """Return the bearer token that is sent, None where there is none; raises Unauthorized for two."""
    sent = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            if sent is not None:
                msg = "Send one 'Authorization' header."
                raise Unauthorized(msg)
            sent = value
    if sent is None:
        return None
    scheme, _, key = sent.partition(b" ")
    return (key.strip() or None) if scheme.lower() == b"bearer" else None


def _check_scope(principal: Principal, path: str) -> None:
    wanted = _needed(path)
    if wanted is not None and principal.scopes.isdisjoint(wanted):
        names = " or ".join(sorted(wanted))
        raise Forbidden(f"This API key lacks the scope {names}, which {path} needs.")
