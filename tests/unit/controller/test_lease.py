"""Two leases on one bucket: nothing is handed out twice and nothing gets lost."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controller.access.lease import Exhausted, Lease
from tests.fakes.lease_store import FakeLeaseStore

LIMIT = 1000
AMOUNT = st.integers(0, LIMIT)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "put", "charge", "settle", "idle", "lose redis", "find redis"]),
        st.integers(0, 1),
        AMOUNT,
    ),
    max_size=60,
)


class Pair:
    """Two leases, and what was taken of them and is in use."""

    def __init__(self) -> None:
        self.store = FakeLeaseStore(LIMIT)
        self.leases = [Lease(self.store, ("key_1", "tokens"), LIMIT, lambda: 2) for _ in range(2)]
        self.used = [0, 0]
        self.lost_redis = False

    async def do(self, what: str, which: int, amount: int) -> None:
        lease = self.leases[which]
        match what:
            case "take":
                with contextlib.suppress(Exhausted):
                    await lease.acquire(amount)
                    self.used[which] += amount
            case "put":
                back = min(amount, self.used[which])
                lease.put(back)
                self.used[which] -= back
            case "charge":
                lease.put(-(amount // 100))
                self.used[which] += amount // 100
            case "settle" | "idle":
                lease.used_at -= 100 * (what == "idle")
                await lease.settle()
            case _:
                self.store.reachable = what == "find redis"
                self.lost_redis |= not self.store.reachable

    @property
    def accounted(self) -> int:
        """Return what is left, held and in use, less what is still to be charged."""
        held = sum(lease._balance - lease._owed for lease in self.leases)
        return self.store.level + held + sum(self.used)


@given(STEPS)
def test_all_is_accounted_for_whatever_happens(steps):
    async def run():
        pair = Pair()
        for step in steps:
            await pair.do(*step)
            # A failed exchange may lose what it gave back; nothing ever makes some of nothing.
            assert pair.accounted <= LIMIT
            assert pair.lost_redis or pair.accounted == LIMIT
        pair.store.reachable = True
        for which in (0, 1):
            await pair.do("idle", which, 0)
        assert [(lease._balance, lease._owed) for lease in pair.leases] == [(0, 0)] * 2

    asyncio.run(run())


async def test_those_who_wait_at_once_share_an_exchange():
    pair = Pair()
    await asyncio.gather(*(pair.leases[0].acquire(10) for _ in range(50)))
    assert pair.store.exchanges <= 2
    assert pair.accounted + 500 == LIMIT


async def test_an_empty_bucket_is_not_asked_by_everybody():
    pair = Pair()
    await pair.leases[0].acquire(LIMIT)
    asked = pair.store.exchanges
    for _ in range(100):
        with pytest.raises(Exhausted):
            await pair.leases[0].acquire(LIMIT)
    assert pair.store.exchanges <= asked + 1


async def test_a_busy_lease_takes_its_next_slice_before_it_is_empty():
    pair = Pair()
    lease = pair.leases[0]
    await lease.acquire(1)
    for _ in range(200):
        assert lease.take(1)
        # The exchange that it has begun goes on beside.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
