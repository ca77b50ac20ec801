"""Who asks, and what that allows.

Owns scopes and priorities as data. Knows neither keys nor HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shared.protocol.priority import Priority


class Scope(StrEnum):
    """What a key opens."""

    CHAT = "chat"
    EVAL = "eval"
    METRICS = "metrics"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a key, in `scope["state"]["principal"]` of every request but health checks.

    `id` is public: it is the key's, as lists show it. `priority` is the best class that may be asked
    for. Limits of 0 are none.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    priority: Priority = Priority.INTERACTIVE
    requests_per_minute: int = 0
    tokens_per_minute: int = 0

    def priority_for(self, asked: str | bytes | None) -> Priority:
        """Return the class of a request whose priority header says `asked`.

        The header may lower what the key allows and never raise it.

        Raises:
            InvalidRequest: there is no such class.
        """
        return max(self.priority, Priority.parse(asked))


ANONYMOUS = Principal("anonymous", "anonymous", ALL_SCOPES)
"""Whoever asks a controller that needs no key."""
