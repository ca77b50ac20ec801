"""Which scope a path needs: one table, for every route of the controller.

A path that is not in it is open to nobody without a key; with one it is what the router makes
of it, which is 404: a test holds the table against the routes.
"""

from __future__ import annotations

from services.controller.access.principal import Scope

OPEN = frozenset({"/health/live", "/health/ready"})
"""What anybody may ask."""

_CHAT = frozenset({Scope.CHAT})
_EVAL = frozenset({Scope.EVAL})
_METRICS = frozenset({Scope.METRICS})
_ADMIN = frozenset({Scope.ADMIN})

# Each path stands for itself and for all below it; any one of the scopes is enough.
_NEEDED: dict[str, frozenset[Scope]] = {
    "/v1/chat/completions": _CHAT,
    "/v1/completions": _CHAT,
    "/v1/models": _CHAT,
    "/tokenize": _CHAT,
    "/detokenize": _CHAT,
    "/v1/stats": frozenset({Scope.CHAT, Scope.ADMIN}),
    "/v1/evals": _EVAL,
    "/metrics": _METRICS,
    "/admin": _ADMIN,
    # Any key: it tells what runs here, and nothing of who uses it.
    "/version": frozenset(Scope),
    "/openapi.json": frozenset(Scope),
}


_DEEPEST = max(path.count("/") for path in _NEEDED)


def needed(path: str) -> frozenset[Scope] | None:
    """Return the scopes of which one opens `path`; None where the table has no such path."""
    # No deeper: a path of thousands of slashes would be looked up thousands of times.
    parts = path.split("/", _DEEPEST + 1)[: _DEEPEST + 1]
    for length in range(len(parts), 1, -1):
        found = _NEEDED.get("/".join(parts[:length]))
        if found is not None:
            return found
    return None
