"""One controller's lease on one shared bucket: what it may hand out without asking.

Owns the balance, the slices taken ahead of need, and what happens while Redis is away: then the
controller goes by its own share of the limit, and tells Redis afterwards what was used.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from services.controller.access.bucket import Bucket
from services.controller.access.lease_store import Kind, LeaseStore, LeasesUnreachable

AHEAD_PARTS = 200
"""A lease holds at most this part of a minute ahead of need: 0.3 s of the rate."""

IDLE_SECONDS = 0.3
"""After this long without a request all that is held goes back."""

FORGET_SECONDS = 120.0
"""After this long a bucket is full whatever was, and the lease is of no use any more."""

_EMPTY_SECONDS = 0.05
"""For so long a bucket that had too little is not asked again: what is refused must cost little."""

_WAIT_SECONDS = 0.5
_ATTEMPTS = 4


class Exhausted(Exception):
    """Nothing is left now; `seconds` until there will be enough."""

    def __init__(self, seconds: float) -> None:
        """Keep the time."""
        super().__init__(f"exhausted for {seconds:.3f} s")
        self.seconds = seconds


class Lease:
    """The lease of one key on its requests or its tokens."""

    def __init__(
        self,
        store: LeaseStore,
        bucket: tuple[str, Kind],
        limit: int,
        controllers: Callable[[], int],
    ) -> None:
        """Start with nothing held, and the bucket taken for full."""
        self.limit = limit
        self.outstanding = 0
        self.used_at = time.monotonic()
        self._store = store
        self._bucket = bucket
        self._controllers = controllers
        self._balance = 0
        self._owed = 0
        self._shared = Bucket(limit, limit, self.used_at)
        self._empty_until = 0.0
        self._share: Bucket | None = None
        self._waiting: list[int] = []
        self._exchange: asyncio.Task[None] | None = None

    @property
    def remaining(self) -> float:
        """Return what is left of the minute, as far as this controller knows."""
        now = time.monotonic()
        level = self._shared.level(now) if self._share is None else self._share.level(now)
        return min(self.limit, max(0.0, self._balance + level))

    @property
    def reset_seconds(self) -> float:
        """Return the seconds until the whole minute's worth is there again."""
        return (self.limit - self.remaining) * 60.0 / self.limit

    @property
    def forgettable(self) -> bool:
        """Return whether a new lease would be as good as this one."""
        idle = time.monotonic() - self.used_at > FORGET_SECONDS
        return idle and not (self.outstanding or self._owed or self._balance or self._share)

    def take(self, amount: int) -> bool:
        """Take all of `amount`, which is within the limit, from what is held, or nothing."""
        now = self.used_at = time.monotonic()
        if self._balance >= amount:
            self._balance -= amount
            if self._balance < self._ahead // 2 and self._share is None and now > self._empty_until:
                # The next slice, before this one is used up.
                self._exchanging()
            return True
        if self._share is None or self._share.level(now) < self._within_share(amount):
            return False
        self._share.put(-amount, now)
        self._owed += amount
        return True

    def put(self, amount: int) -> None:
        """Give back what was taken and not used; negative: what was used beyond it."""
        if self._share is not None:
            self._share.put(amount, time.monotonic())
            self._owed -= amount
        else:
            self._balance += amount

    async def acquire(self, amount: int) -> None:
        """Take `amount`, which is within the limit; wait for a slice of it if need be.

        Raises:
            Exhausted: the shared bucket has too little.
        """
        for _ in range(_ATTEMPTS):
            if self.take(amount):
                return
            now = time.monotonic()
            if self._share is not None:
                raise Exhausted(self._share.seconds_until(self._within_share(amount), now))
            if now < self._empty_until:
                missing = self._shared.seconds_until(amount - self._balance, now)
                raise Exhausted(max(missing, self._empty_until - now))
            self._waiting.append(amount)
            try:
                await asyncio.wait({self._exchanging()}, timeout=_WAIT_SECONDS)
            finally:
                self._waiting.remove(amount)
        # Others were quicker each time.
        raise Exhausted(_EMPTY_SECONDS)

    async def settle(self) -> None:
        """Give back what is not needed, count what is owed, and find Redis again."""
        idle = time.monotonic() - self.used_at > IDLE_SECONDS
        surplus = self._balance - (0 if idle else self._ahead)
        if self._balance < 0 or surplus > 0 or self._owed or self._share is not None:
            await asyncio.wait({self._exchanging()})

    @property
    def _ahead(self) -> int:
        """What is held beyond need. Of a small limit nothing: another controller may need it."""
        return self.limit // AHEAD_PARTS

    def _within_share(self, amount: int) -> float:
        """Return the level that admits `amount`: a share that is full admits what exceeds it."""
        return min(amount, self.limit / max(1, self._controllers()))

    def _exchanging(self) -> asyncio.Task[None]:
        """Return the exchange that is under way, or begin one."""
        if self._exchange is None:
            self._exchange = asyncio.create_task(self._exchange_once())
        return self._exchange

    async def _exchange_once(self) -> None:
        try:
            await self._ask()
        except LeasesUnreachable:
            self._go_alone()
        finally:
            self._exchange = None

    async def _ask(self) -> None:
        now = time.monotonic()
        idle = not self._waiting and now - self.used_at > IDLE_SECONDS
        kept = 0 if idle else self._ahead + sum(self._waiting)
        returned = max(0, self._balance - kept)
        self._owed += max(0, -self._balance)
        # What is given back is gone even if no answer comes; what is owed stays owed.
        self._balance = max(0, self._balance - returned)
        owed, want = self._owed, max(0, kept - self._balance)
        answer = await self._store.exchange(
            self._bucket,
            self.limit,
            need=max(0, min(self._waiting, default=0) - self._balance),
            want=want,
            returned=returned - owed,
            assumed=self._shared.level(now),
        )
        now = time.monotonic()
        self._owed -= owed
        self._balance += answer.granted
        self._shared = Bucket(self.limit, answer.level, now)
        self._empty_until = now + _EMPTY_SECONDS if answer.granted < want else 0.0
        self._share = None

    def _go_alone(self) -> None:
        """Go by this controller's share of the limit until Redis is back."""
        if self._share is None:
            now, controllers = time.monotonic(), max(1, self._controllers())
            level = self._shared.level(now) / controllers
            self._share = Bucket(self.limit / controllers, level, now)
