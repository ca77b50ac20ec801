"""What a unit may use, asked of Redis before its calls: an estimate is held until it ends.

Owns the reservation of one unit. It is counted once however often the unit is begun, since it
stands under the unit's name; the commit settles it. What is refused goes back by the same script.
"""

from __future__ import annotations

from typing import Any

from services.evaluator.jobs.asking import Estimates
from services.evaluator.jobs.connection import Script, reaching_redis
from services.evaluator.jobs.records import picodollars
from services.evaluator.jobs.scripts.work import RESERVE
from services.evaluator.jobs.work import Unit, Work
from shared.protocol.evals.run import RunStatus

_RESERVE = Script(RESERVE)
_OPEN = {RunStatus.QUEUED.value.encode(), RunStatus.RUNNING.value.encode()}


class OutOfBudget(Exception):
    """There is no room for a unit now; it is back in the stream, and nothing was asked."""


class Reservation:
    """What one unit holds; without limits it asks nobody."""

    def __init__(self, redis: Any, estimates: Estimates, work: Work, unit: Unit) -> None:
        """Hold nothing yet."""
        self._redis = redis
        self._estimates = estimates
        self._work = work
        self._unit = unit
        self._held = [0, 0, 0, 0]

    async def begin(self, body: dict[str, Any], calls: int = 1) -> None:
        """Hold what `calls` calls use whose last one is as long as `body`.

        Raises:
            OutOfBudget. StoreUnreachable.
        """
        if self._unit.limited and await self._reserve(body, calls, begun=False) != b"reserved":
            raise OutOfBudget

    async def goes_on(self) -> bool:
        """Return whether the run is open, so that a further call may follow one that was made.

        Raises:
            StoreUnreachable.
        """
        with reaching_redis():
            status = await self._redis.hget(self._work.names[0], "status")
        return status in _OPEN

    async def more(self, body: dict[str, Any]) -> bool:
        """Return whether one more call may be made. Raises StoreUnreachable."""
        if not self._unit.limited:
            return await self.goes_on()
        return await self._reserve(body, 1, begun=True) == b"reserved"

    async def _reserve(self, body: dict[str, Any], calls: int, *, begun: bool) -> bytes:
        estimate = self._estimates.estimate(body)
        completion = estimate.completion_tokens
        # Each call sends the answers before it once more.
        prompt = calls * estimate.prompt_tokens + completion * calls * (calls - 1) // 2
        judged = calls if self._unit.kind == "r" else 0
        cost = calls * picodollars(estimate.cost_usd or 0.0)
        wanted = (calls, judged, prompt + calls * completion, cost)
        held = [before + more for before, more in zip(self._held, wanted, strict=True)]
        unpriced = int(estimate.cost_usd is None)
        values = (self._unit.entry, self._unit.stream, self._unit.name)
        [word] = await _RESERVE.run(
            self._redis, self._work.names, *values, *held, unpriced, int(begun)
        )
        if word == b"reserved":
            self._held = held
        return word
