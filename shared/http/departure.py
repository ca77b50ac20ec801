"""Noticing that the client of a connection has gone.

Owns who wants to know. uvicorn's `send` tells nothing of it, and a task that waits in `receive`
costs a request more than looking its key up; our protocol puts a `Departure` into each scope.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Scope

EXTENSION, CLIENT = "llmzoo.departure", "client"


class Departure:
    """Of one connection's client."""

    __slots__ = ("_told", "gone")

    def __init__(self) -> None:
        """The client is there."""
        self.gone = False
        self._told: set[Callable[[], None]] = set()

    def tell(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the client goes; at once if it has gone."""
        if self.gone:
            callback()
        else:
            self._told.add(callback)

    def forget(self, callback: Callable[[], None]) -> None:
        """Call it no more."""
        self._told.discard(callback)

    def depart(self) -> None:
        """Note that the client has gone."""
        self.gone = True
        told, self._told = self._told, set()
        for callback in told:
            callback()


def departure_of(scope: Scope) -> Departure:
    """Return the departure of the client who sends a request."""
    departure: Departure = scope["extensions"][EXTENSION][CLIENT]
    return departure
