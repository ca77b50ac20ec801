"""Requests and tokens a minute for each key, correct over all controllers.

Owns the leases and the choice between admission and 429. A bucket holds one minute's worth: so
much may come at once, and as much again a minute later. Admission asks the local lease alone;
Redis is asked ahead of need, and awaited only where the lease has run out.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, Callable

from services.controller.access.lease import Exhausted, Lease
from services.controller.access.lease_store import Kind, LeaseStore
from services.controller.access.principal import Principal
from services.controller.access.reservation import UNLIMITED, Reservation, limit_headers
from services.controller.background import kept_running
from shared.errors import RateLimited

TICK_SECONDS = 0.1


class RateLimits:
    """Reserves what a request may use."""

    def __init__(self, store: LeaseStore, controllers: Callable[[], int]) -> None:
        """Take slices from `store`; without it, each of the `controllers` has an equal share."""
        self._store = store
        self._controllers = controllers
        self._leases: dict[tuple[str, Kind], Lease] = {}

    async def reserve(self, principal: Principal, tokens: int) -> Reservation:
        """Take one request and `tokens` from what the key may use.

        It returns at once where the lease holds them. Whoever gets the reservation must end it,
        by `settle` or `cancel`, in a `finally`.

        Raises:
            RateLimited: they are not there, with the seconds until they will be; without, if
                `tokens` are more than the key may ever use at once.
        """
        if not (principal.requests_per_minute or principal.tokens_per_minute):
            return UNLIMITED
        wanted: list[tuple[Kind, Lease, int]] = []
        if principal.requests_per_minute:
            wanted.append(("requests", self._lease(principal, "requests"), 1))
        if principal.tokens_per_minute:
            wanted.append(("tokens", self._lease(principal, "tokens"), tokens))
        try:
            return await _reserved(wanted)
        except RateLimited as refusal:
            refusal.headers.update(limit_headers((kind, lease) for kind, lease, _ in wanted))
            raise

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Keep the leases in order for the time of the context, then give all of them back."""
        async with kept_running(self._keep_in_order(), "rate-limits"):
            yield
        for lease in self._leases.values():
            lease.used_at = -math.inf
        await self._settle_all()

    def _lease(self, principal: Principal, kind: Kind) -> Lease:
        limit = principal.requests_per_minute if kind == "requests" else principal.tokens_per_minute
        lease = self._leases.get((principal.id, kind))
        if lease is None:
            lease = Lease(self._store, (principal.id, kind), limit, self._controllers)
            self._leases[principal.id, kind] = lease
        # An operator may have changed it.
        lease.limit = limit
        return lease

    async def _keep_in_order(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self._settle_all()
            for name in [name for name, lease in self._leases.items() if lease.forgettable]:
                del self._leases[name]

    async def _settle_all(self) -> None:
        for lease in list(self._leases.values()):
            if self._store.blind:
                return
            await lease.settle()


async def _reserved(wanted: list[tuple[Kind, Lease, int]]) -> Reservation:
    """Take all that is wanted, or nothing; raises RateLimited."""
    taken: dict[Kind, tuple[Lease, int]] = {}
    try:
        for kind, lease, amount in wanted:
            await _take(kind, lease, amount)
            taken[kind] = (lease, amount)
        return Reservation(taken)
    finally:
        if len(taken) < len(wanted):
            Reservation(taken).cancel()


async def _take(kind: Kind, lease: Lease, amount: int) -> None:
    """Take `amount`; raises RateLimited."""
    if amount > lease.limit:
        msg = (
            f"The request may use {amount} {kind}, and this API key has {lease.limit} a minute: "
            "ask for fewer (max_tokens)."
        )
        raise RateLimited(msg)
    if lease.take(amount):
        return
    try:
        await lease.acquire(amount)
    except Exhausted as fault:
        msg = (
            f"This API key has used its {lease.limit} {kind} a minute. "
            f"Try again in {fault.seconds:.3g} s."
        )
        raise RateLimited(msg, retry_after=fault.seconds) from None
