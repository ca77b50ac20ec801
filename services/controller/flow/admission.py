"""Giving each call a place on a worker: at once, or in its turn.

Owns the queues, one a model, and who is next when a place comes free. Workers are given no more
than they run at once and a little to go on with; what they cannot run yet waits here, where it can
be ordered, shed and sent to whoever is free first. Knows no socket.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from random import Random

from services.controller.fleet.lease import Lease
from services.controller.fleet.member import Member
from services.controller.fleet.roster import Roster
from services.controller.flow.fair_queue import FairQueue, Waiter
from services.controller.flow.metrics import FlowMetrics
from services.controller.flow.retry_places import RetryPlaces
from services.controller.relay.call import Call
from services.controller.relay.deadline import deadline_exceeded
from services.controller.routing.policies import POLICIES, is_worth_waiting, least_cost
from shared.errors import Gone, LLMZooError, Overloaded, Unavailable
from shared.protocol.priority import Priority
from shared.settings import ControllerSettings

HEADROOM = {Priority.INTERACTIVE: 2, Priority.BATCH: 1}
"""Eighths of a worker's places that may wait in it, so that none stays empty; batch work leaves
some of it to interactive work."""

NO_POLICY = "none"
MOST_SESSIONS = 16_384

MOST_LOOKED_AT = 32
"""Waiters who are looked at when a place comes free, if those before them do better to wait."""


@dataclass(slots=True, eq=False)
class _Waiting(Waiter):
    """A call in the queue, which may not go everywhere."""

    call: Call
    avoided: AbstractSet[str]
    place: asyncio.Future[Lease]
    since: float
    served: bool = False


class _Line:
    """What waits for one model."""

    def __init__(self, settings: ControllerSettings) -> None:
        self.queue = FairQueue(settings.max_queued, settings.max_queued_bytes)
        self.places = RetryPlaces()


class Admission:
    """Hands out leases on ready workers."""

    def __init__(
        self, roster: Roster, settings: ControllerSettings, metrics: FlowMetrics, rng: Random
    ) -> None:
        """Choose among the roster's workers by the settings' policy."""
        self._roster = roster
        self._settings = settings
        self._metrics = metrics
        self._rng = rng
        self._policy = POLICIES[settings.routing_policy]
        self._by_policy = metrics.selections(settings.routing_policy)
        self._without_choice = metrics.selections(NO_POLICY)
        self._lines: dict[str, _Line] = {}
        self._sessions: OrderedDict[tuple[str, str], str] = OrderedDict()
        metrics.observe_queues(self.waiting)

    def waiting(self, priority: Priority) -> int:
        """Return how many calls of a class wait."""
        return sum(line.queue.waiting(priority) for line in self._lines.values())

    def queued(self) -> list[Call]:
        """Return all calls that wait, by model and in the order of their turns."""
        return [waiter.call for waiter in self._waiters()]

    def cancel(self, call_id: str) -> bool:
        """Refuse a call that waits; return whether there was one."""
        for waiter in self._waiters():
            if waiter.call.id == call_id and not waiter.place.done():
                msg = "The request was taken out of the queue by an operator."
                waiter.place.set_exception(Gone(msg, code="request_cancelled"))
                return True
        return False

    async def place(
        self, call: Call, avoided: AbstractSet[str], *, patience: float | None = None
    ) -> Lease | None:
        """Return a lease on a worker that is not avoided; None: there is no other one.

        Args:
            call: what needs a place.
            avoided: incarnations of workers.
            patience: seconds that it waits in line, by default as the settings say.

        Raises:
            ModelNotFound, Unavailable: nobody serves the model.
            Overloaded: too many wait, or this one has waited too long.
        """
        ready = self._roster.ready(call.model)
        line = self._lines.get(call.model)
        if line is None or not line.queue.ahead_of(call.priority):
            member = self._choose(ready, call, avoided, 0.0)
            if member is not None:
                return self.lease(member, call)
        left = [member for member in ready if member.incarnation not in avoided]
        if left:
            self._check_breakers(left)
            longest = self._settings.queue_timeout
            late: LLMZooError | None = None
        elif ready:
            return None
        else:
            longest, late = self._settings.cold_start_timeout, self._roster.why_not(call.model)
            if not longest or not self._roster.is_coming(call.model):
                raise late
        return await self._wait(call, avoided, longest if patience is None else patience, late)

    def pump(self) -> None:
        """Give places that have come free to those who wait; also who is new gets work so."""
        for model in [model for model, line in self._lines.items() if len(line.queue)]:
            self._pump(model)

    def _choose(
        self, ready: Sequence[Member], call: Call, avoided: AbstractSet[str], waited: float
    ) -> Member | None:
        """Return the worker that gets the call, which has `waited` so many seconds.

        None: there is none with room, or none that is worth more than to wait for a full one.
        """
        now = time.monotonic()
        headroom = HEADROOM[call.priority]
        allowed = [m for m in ready if m.breaker.allows(now) and m.incarnation not in avoided]
        able = [member for member in allowed if member.has_room(headroom)]
        if not able:
            return None
        if len(allowed) == 1:
            self._without_choice.inc()
            return able[0]
        ask = call.ask
        if call.session:
            last = self._sessions.get((call.key, call.session), "")
            ask = replace(ask, last_worker=last)
        chosen = self._policy(able, ask, self._rng)
        if self._policy is least_cost and len(able) < len(allowed) and (ask.chain or call.session):
            full = [member for member in allowed if member not in able]
            if is_worth_waiting(chosen, full, ask, waited):
                return None
        self._by_policy.inc()
        return chosen

    def _waiters(self) -> list[_Waiting]:
        lines = [self._lines[model] for model in sorted(self._lines)]
        return [each for line in lines for each in line.queue if isinstance(each, _Waiting)]

    def lease(self, member: Member, call: Call) -> Lease:
        """Return a lease on a certain worker, whether or not it has room."""
        if call.session:
            self._sessions[call.key, call.session] = member.id
            self._sessions.move_to_end((call.key, call.session))
            if len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return Lease(member, call.model, call.ask, self._given_back)

    def _given_back(self, lease: Lease) -> None:
        line = self._lines.get(lease.model)
        if line is None:
            return
        if len(line.queue):
            line.places.freed(lease.sequences, time.monotonic())
            self._pump(lease.model)
        else:
            line.places.idle()

    async def _wait(
        self, call: Call, avoided: AbstractSet[str], patience: float, late: LLMZooError | None
    ) -> Lease:
        """Wait in line; after `patience` seconds raise `late`, by default that there is no room."""
        line = self._lines.setdefault(call.model, _Line(self._settings))
        if call.deadline - time.monotonic() < patience:
            patience, late = call.deadline - time.monotonic(), deadline_exceeded()
        expected = line.places.wait(line.queue.ahead_of(call.priority))
        if late is None and expected > patience:
            raise self._refusal(line, call, "queue_too_long")
        place: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        began = time.monotonic()
        waiter = _Waiting(
            call.key, call.priority, call.ask.tokens, len(call.body), call, avoided, place, began
        )
        for shed in line.queue.add(waiter):
            assert isinstance(shed, _Waiting)
            fault = self._refusal(line, shed.call, "queue_full")
            if not shed.place.done():
                shed.place.set_exception(fault)
        try:
            async with asyncio.timeout(patience):
                lease = await place
                waiter.served = True
                return lease
        except TimeoutError:
            raise late or self._refusal(line, call, "queue_timeout") from None
        finally:
            self._metrics.wait.observe(time.monotonic() - began)
            self._leave(line, waiter)

    def _leave(self, line: _Line, waiter: _Waiting) -> None:
        """Let one wait no more; a place that came in the moment it went is the next one's."""
        line.queue.discard(waiter)
        place = waiter.place
        came = place.done() and not place.cancelled() and place.exception() is None
        if came and not waiter.served:
            place.result().release()
        place.cancel()
        if not len(line.queue):
            line.places.idle()

    def _pump(self, model: str) -> None:
        line = self._lines[model]
        ready = self._roster.ready(model)
        if not ready:
            self._give_up(model, line)
            return
        now = time.monotonic()
        chosen: Member | None = None
        looked = 0

        def fits(waiter: Waiter) -> bool:
            nonlocal chosen, looked
            assert isinstance(waiter, _Waiting)
            looked += 1
            if looked > MOST_LOOKED_AT:
                return False
            chosen = self._choose(ready, waiter.call, waiter.avoided, now - waiter.since)
            return chosen is not None

        while (waiter := line.queue.take(fits)) is not None:
            assert isinstance(waiter, _Waiting)
            assert chosen is not None
            if not waiter.place.done():
                waiter.place.set_result(self.lease(chosen, waiter.call))

    def _give_up(self, model: str, line: _Line) -> None:
        """Refuse all who wait for a model that nobody serves any more, nor soon will."""
        if self._roster.is_coming(model):
            return
        while (waiter := line.queue.take(lambda _: True)) is not None:
            assert isinstance(waiter, _Waiting)
            if not waiter.place.done():
                waiter.place.set_exception(self._roster.why_not(model))

    def _check_breakers(self, members: Sequence[Member]) -> None:
        """Refuse what could only wait for workers that have failed.

        Raises:
            Unavailable: none of them is tried at the moment.
        """
        now = time.monotonic()
        if not any(member.breaker.allows(now) for member in members):
            soonest = min(member.breaker.retry_after(now) for member in members)
            msg = "The workers of this model have failed; they are tried again soon."
            raise Unavailable(msg, param="model", retry_after=max(1.0, soonest))

    def _refusal(self, line: _Line, call: Call, reason: str) -> Overloaded:
        self._metrics.rejections.labels(reason).inc()
        waiting = line.queue.ahead_of(call.priority)
        after = line.places.give(waiting, time.monotonic())
        msg = f"All places of the model '{call.model}' are taken and {waiting} requests wait."
        return Overloaded(msg, retry_after=after)
