"""What one request holds of its key's limits, from its admission to its end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from services.controller.access.lease import Lease
from services.controller.access.lease_store import Kind


class Reservation:
    """One request and so many tokens; the first of `settle` and `cancel` counts, and no other."""

    __slots__ = ("_held", "_open")

    def __init__(self, held: dict[Kind, tuple[Lease, int]]) -> None:
        """Hold an amount of each lease, which was taken before."""
        self._held = held
        self._open = True
        for lease, _ in held.values():
            lease.outstanding += 1

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the `x-ratelimit-*` headers as of now; none for a key without limits."""
        if not self._held:
            return ()
        told = limit_headers((kind, lease) for kind, (lease, _) in self._held.items())
        return tuple(told.items())

    def settle(self, tokens_used: int) -> None:
        """End it: tokens not used go back, those beyond what was reserved are charged."""
        if self._close() and "tokens" in self._held:
            lease, amount = self._held["tokens"]
            lease.put(amount - tokens_used)

    def cancel(self) -> None:
        """End it as if it had never been."""
        if self._close():
            for lease, amount in self._held.values():
                lease.put(amount)

    def __enter__(self) -> Self:
        """Hold it for the time of a context, at whose end it is cancelled unless it was settled."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of what was not settled."""
        self.cancel()

    def _close(self) -> bool:
        was_open, self._open = self._open, False
        if was_open:
            for lease, _ in self._held.values():
                lease.outstanding -= 1
        return was_open


def limit_headers(leases: Iterable[tuple[Kind, Lease]]) -> dict[str, str]:
    """Return limit, remaining and reset of each kind, as OpenAI names and writes them."""
    headers: dict[str, str] = {}
    for kind, lease in leases:
        headers[f"x-ratelimit-limit-{kind}"] = str(lease.limit)
        headers[f"x-ratelimit-remaining-{kind}"] = str(int(lease.remaining))
        headers[f"x-ratelimit-reset-{kind}"] = f"{lease.reset_seconds:.3f}s"
    return headers


UNLIMITED = Reservation({})
"""The reservation of every request whose key has no limits."""
